"""The functions of the pipeline stack: role, log group, image function, version and the alias ``live``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from troposphere import (
    Equals,
    GetAtt,
    If,
    Join,
    Not,
    NoValue,
    Parameter,
    Ref,
    Select,
    Split,
    Sub,
    Template,
    awslambda,
    iam,
    logs,
)

from cfn.concurrency import loaded, reservation
from cfn.events.wiring import event_statements
from cfn.lambdas import (
    json_logging,
    lambda_trust_policy,
    secret_statements,
    tracing_statements,
    write_logs_statement,
)
from cfn.names import RESERVED_CONCURRENCY, Names, image_parameter, pascal_case
from cfn.network import Network
from cfn.own_resources import variable_value
from cfn.placeholder import placeholder_digest
from cfn.policies import policy_document
from cfn.settings import FunctionDefinition, Settings
from cfn.statements import call_statements, resource_arn

METRICS_NAMESPACE = "TransactionPipeline"  # of a project without a name
ALIAS = "live"
DEFAULT_STORAGE = 512  # MB of /tmp, which cost nothing (Lambda pricing)
_RESERVES = "ReservesConcurrency"
# Called resources whose ARN a function is given.
_ARN_VARIABLES = {"state-machine": "STATE_MACHINE_ARN", "result-topic": "RESULT_TOPIC_ARN"}
# Empty, or an image of a private repository by digest: Lambda accepts no other registry, and resolves a tag only once.
IMAGE_PATTERN = r"^([0-9]{12}\.dkr\.ecr\.[a-z0-9.-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64})?$"


@dataclass(frozen=True, slots=True)
class FunctionRole:
    """A function's role and log group."""

    role: Any
    log_group: Any


@dataclass(frozen=True, slots=True)
class FunctionResources:
    """The resources of a function.

    function  the Lambda function resource
    version   the version of the image and configuration in use
    digest    the digest of the image in use: the parameter's, or the placeholder's while that is empty
    target    the ARN that the workflow calls: the alias ``live``, so that a release can shift traffic behind it
    """

    definition: FunctionDefinition
    function: Any
    version: Any
    alias: Any
    digest: Any

    @property
    def target(self) -> Any:
        return Ref(self.alias)


def add_roles(
    template: Template, settings: Settings, names: Names, functions: Sequence[FunctionDefinition]
) -> dict[str, FunctionRole]:
    """One role per function, with exactly the permissions of its calls."""
    if not functions:
        return {}
    interfaces = _add_interface_policy(template) if any(map(settings.in_vpc, functions)) else None
    policy = "Retain" if settings.protect_data else "Delete"
    roles = {}
    for function in functions:
        stem = pascal_case(function.name)
        log_group = template.add_resource(
            logs.LogGroup(
                f"{stem}LogGroup",
                LogGroupName=names.log_group(function.name),
                RetentionInDays=settings.log_retention_days,
                DeletionPolicy=policy,
                UpdateReplacePolicy=policy,
            )
        )
        role = template.add_resource(
            iam.Role(
                f"{stem}Role",
                AssumeRolePolicyDocument=lambda_trust_policy(),
                Policies=[
                    iam.Policy(
                        PolicyName="calls",
                        PolicyDocument={
                            "Version": "2012-10-17",
                            "Statement": [
                                write_logs_statement(log_group),
                                *call_statements(names, function.calls),
                                *secret_statements(function),
                                *event_statements(function),
                                *tracing_statements(function),
                            ],
                        },
                    )
                ],
                **({"ManagedPolicyArns": [Ref(interfaces)]} if settings.in_vpc(function) else {}),
            )
        )
        roles[function.name] = FunctionRole(role, log_group)
    return roles


def _add_interface_policy(template: Template) -> Any:
    return template.add_resource(
        iam.ManagedPolicy(
            "NetworkInterfacePolicy",
            Description="Lets Lambda attach functions to the VPC, and keeps the functions' own code from it.",
            PolicyDocument=policy_document(*interface_statements()),
        )
    )


def interface_statements() -> list[dict[str, Any]]:
    """What Lambda needs to attach a function to a VPC, and a denial of it to the function's own code."""
    return [
        {
            "Effect": "Allow",
            "Action": [
                "ec2:AssignPrivateIpAddresses",
                "ec2:CreateNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSubnets",
                "ec2:UnassignPrivateIpAddresses",
            ],
            # Lambda demands these on all resources: interfaces have no names before they exist, and the Describe calls
            # know no resource (Lambda guide, "Giving functions access to a VPC").
            "Resource": "*",
        },
        {
            # Lambda itself acts without this key; what the function's code calls carries it.
            "Effect": "Deny",
            "Action": "ec2:*",
            "Resource": "*",
            "Condition": {"Null": {"lambda:SourceFunctionArn": "false"}},
        },
    ]


def add_functions(
    template: Template,
    settings: Settings,
    names: Names,
    functions: Sequence[FunctionDefinition],
    *,
    roles: Mapping[str, FunctionRole],
    network: Network | None,
    table: Any | None,
) -> dict[str, FunctionResources]:
    """The functions by name, each on the image of its parameter or on its placeholder."""
    if not functions:
        return {}
    if settings.has_transactions:
        template.add_parameter(
            Parameter(
                RESERVED_CONCURRENCY,
                Type="Number",
                Default=reservation(settings, functions),
                MinValue=0,
                # At least 100 executions of an account must stay unreserved, and new accounts have 10 in all.
                Description="Executions reserved for each function of the workflow. 0: none, as small accounts need",
            )
        )
        template.add_condition(_RESERVES, Not(Equals(Ref(RESERVED_CONCURRENCY), "0")))
    digest = placeholder_digest(settings.architecture)
    return {
        function.name: _add_function(template, settings, names, function, roles[function.name], network, table, digest)
        for function in functions
    }


def _add_function(
    template: Template,
    settings: Settings,
    names: Names,
    function: FunctionDefinition,
    role: FunctionRole,
    network: Network | None,
    table: Any | None,
    digest: str,
) -> FunctionResources:
    stem = pascal_case(function.name)
    image, image_digest = _add_image(template, names, function, digest)
    variables: dict[str, Any] = {
        **{name: variable_value(settings, text) for name, text in function.environment},
        **{name: reference.partition(":")[2] for name, reference in function.secrets},
        "ENVIRONMENT": settings.environment,
        **({"TABLE_NAME": Ref(table)} if table is not None and _uses_table(function) else {}),
        **{
            variable: resource_arn(names, resource)
            for resource, variable in _ARN_VARIABLES.items()
            if any(call.resource == resource for call in function.calls)
        },
        "IMAGE_DIGEST": image_digest,
        "POWERTOOLS_SERVICE_NAME": function.name,
        "POWERTOOLS_METRICS_NAMESPACE": settings.project or METRICS_NAMESPACE,
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
    in_vpc = settings.in_vpc(function)
    # What a published version holds besides the image.
    versioned = {
        "Role": GetAtt(role.role, "Arn"),
        "Architectures": [str(settings.architecture)],
        "MemorySize": function.memory,
        "Timeout": function.timeout,
        **({"VpcConfig": _vpc_config(network)} if network is not None and in_vpc else {}),
        "LoggingConfig": json_logging(role.log_group),
        **({"Description": function.description} if function.description else {}),
        **(
            {"EphemeralStorage": awslambda.EphemeralStorage(Size=function.ephemeral_storage)}
            if function.ephemeral_storage != DEFAULT_STORAGE
            else {}
        ),
        **({"TracingConfig": awslambda.TracingConfig(Mode="Active")} if function.tracing else {}),
    }
    fingerprint = _fingerprint({**versioned, "Variables": variables}, settings, in_vpc=in_vpc)
    # In the configuration itself too: a template that says the same in other words changes the fingerprint, and Lambda
    # refuses a new version of a function that did not change.
    variables["CONFIGURATION"] = fingerprint
    reserved: Any = function.reserved_concurrency
    if loaded(settings, [function]):
        reserved = If(_RESERVES, Ref(RESERVED_CONCURRENCY), NoValue)
    resource = template.add_resource(
        awslambda.Function(
            f"{stem}Function",
            FunctionName=names.function(function.name),
            PackageType="Image",
            Code=awslambda.Code(ImageUri=image),
            Environment=awslambda.Environment(Variables=variables),
            **versioned,
            **({"ReservedConcurrentExecutions": reserved} if reserved is not None else {}),
        )
    )
    version = template.add_resource(
        awslambda.Version(
            f"{stem}Version",
            FunctionName=Ref(resource),
            # Create-only, so another image or another configuration makes another version. An equal one makes none,
            # which Lambda would refuse. The network is part of it: a version keeps its own subnets.
            Description=Join(" ", [image_digest, fingerprint]),
            # Invocations of the replaced version may still run, and the alias can move back to it. A release deletes
            # older ones (pipeline.release.versions). The deletion of the function deletes all of its versions.
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Retain",
        )
    )
    alias = template.add_resource(
        awslambda.Alias(
            f"{stem}Alias",
            Name=ALIAS,
            FunctionName=Ref(resource),
            FunctionVersion=GetAtt(version, "Version"),
            **(
                {
                    "ProvisionedConcurrencyConfig": awslambda.ProvisionedConcurrencyConfiguration(
                        ProvisionedConcurrentExecutions=function.provisioned_concurrency
                    )
                }
                if function.provisioned_concurrency
                else {}
            ),
        )
    )
    return FunctionResources(definition=function, function=resource, version=version, alias=alias, digest=image_digest)


def _add_image(template: Template, names: Names, function: FunctionDefinition, digest: str) -> tuple[Any, Any]:
    """The parameter of the function's image; gives the URI in use and its digest."""
    parameter = template.add_parameter(
        Parameter(
            image_parameter(function.name),
            Type="String",
            Default="",
            AllowedPattern=IMAGE_PATTERN,
            ConstraintDescription="must be <ECR repository URI>@sha256:<digest>, or empty",
            Description=f"Image of {function.name}. Empty: its placeholder",
        )
    )
    condition = f"Has{pascal_case(function.name)}Image"
    template.add_condition(condition, Not(Equals(Ref(parameter), "")))
    # Written out, not imported: an export that is in use could neither change nor go.
    registry = "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}"
    return (
        If(condition, Ref(parameter), Sub(f"{registry}/{names.repository(function.name)}@{digest}")),
        # The text after the first "@": the parameter's digest, or the placeholder's if the parameter is empty.
        Select(1, Split("@", Sub(f"${{{parameter.title}}}@{digest}"))),
    )


def _uses_table(function: FunctionDefinition) -> bool:
    return any(call.resource.split("/")[0] == "state-table" for call in function.calls)


def _vpc_config(network: Network) -> Any:
    return awslambda.VPCConfig(SecurityGroupIds=list(network.security_groups), SubnetIds=list(network.subnets))


def _fingerprint(versioned: Mapping[str, Any], settings: Settings, *, in_vpc: bool) -> str:
    def plain(value: Any) -> Any:
        return value.to_dict()

    document = json.dumps(
        [versioned, *([settings.vpc_cidr, settings.zones] if in_vpc else [])], default=plain, sort_keys=True
    )
    return hashlib.sha256(document.encode()).hexdigest()[:12]
