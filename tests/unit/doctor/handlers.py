"""Derive pipeline/doctor/handlers.toml from CloudFormation's resource schemas, which cfn-lint ships.

After an update of cfn-lint or a new resource type:

    .venv/bin/python -m tests.unit.doctor.handlers
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint

from pipeline.doctor.policy import HANDLERS
from tests.unit.cfn.examples import DEV, FOR_TOKENS, FULL, FUNCTIONS_ALONE, JWT, PROD, pipeline, registry

SCHEMAS = Path(cfnlint.__file__).parent / "data" / "schemas"
STACK_HANDLERS = ("create", "read", "update", "delete")  # "list" is for inventories, not for stacks
HEAD = """\
# The actions that CloudFormation calls as the caller, by resource type and handler: those of the resource schemas,
# without actions for properties that no template sets. Generated: python -m tests.unit.doctor.handlers
"""

# Actions that a handler calls only for a property that no template sets. A test fails when a template sets it.
# A read handler does not know the properties, so reads of the resource's own service are never omitted.
UNSET: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "AWS::SNS::Subscription": {"SubscriptionRoleArn": ("iam:GetRole", "iam:PassRole")},
    "AWS::CodeDeploy::DeploymentGroup": {"OnPremisesInstanceTagFilters": ("codedeploy:RegisterOnPremisesInstance",)},
    "AWS::DynamoDB::Table": {
        "ContributorInsightsSpecification": ("dynamodb:UpdateContributorInsights",),
        "ImportSourceSpecification": (
            "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:DescribeImport", "dynamodb:GetItem",
            "dynamodb:ImportTable", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem",
            "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams",
            "logs:PutLogEvents", "logs:PutRetentionPolicy", "s3:GetObject", "s3:GetObjectMetadata", "s3:ListBucket",
        ),
        "KMSMasterKeyId": (
            "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:ListAliases", "kms:RevokeGrant",
        ),
        "KinesisStreamSpecification": (
            "dynamodb:DisableKinesisStreamingDestination", "dynamodb:EnableKinesisStreamingDestination",
            "dynamodb:UpdateKinesisStreamingDestination", "iam:CreateServiceLinkedRole", "kinesis:DescribeStream",
            "kinesis:PutRecords",
        ),

        "ResourcePolicy": ("dynamodb:DeleteResourcePolicy", "dynamodb:PutResourcePolicy"),
    },
    "AWS::SecretsManager::Secret": {
        "ReplicaRegions": (
            "secretsmanager:RemoveRegionsFromReplication", "secretsmanager:ReplicateSecretToRegions",
        ),
    },
    "AWS::EC2::Subnet": {"Ipv6CidrBlock": ("ec2:AssociateSubnetCidrBlock", "ec2:DisassociateSubnetCidrBlock")},
    "AWS::EC2::VPC": {
        "InstanceTenancy": ("ec2:ModifyVpcTenancy",),
        "VpcEncryptionControl": ("ec2:CreateVpcEncryptionControl",),
    },
    "AWS::EC2::VPCEndpoint": {
        "ServiceNetworkArn": (
            "vpc-lattice:CreateServiceNetworkVpcEndpointAssociation",
            "vpc-lattice:DescribeServiceNetworkVpcEndpointAssociation",
        ),
        "ServiceRegion": ("vpce:AllowMultiRegion",),
    },
    "AWS::ECR::Repository": {"KmsKey": ("kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant")},
    "AWS::IAM::ManagedPolicy": {
        "Groups": ("iam:AttachGroupPolicy", "iam:DetachGroupPolicy"),
        "Roles": ("iam:AttachRolePolicy", "iam:DetachRolePolicy"),
        "Users": ("iam:AttachUserPolicy", "iam:DetachUserPolicy"),
    },
    "AWS::IAM::Role": {
        "MaxSessionDuration": ("iam:UpdateRole",),
        "PermissionsBoundary": ("iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary"),
    },
    "AWS::KMS::Key": {"Enabled": ("kms:DisableKey", "kms:EnableKey")},
    "AWS::Lambda::Function": {
        "CapacityProviderConfig": ("lambda:PassCapacityProvider",),
        "CodeSigningConfigArn": (
            "lambda:DeleteFunctionCodeSigningConfig", "lambda:GetCodeSigningConfig",
            "lambda:PutFunctionCodeSigningConfig",
        ),
        "FileSystemConfigs": ("elasticfilesystem:DescribeMountTargets", "s3files:ListMountTargets"),
        "FunctionScalingConfig": ("lambda:PutFunctionScalingConfig",),
        "KmsKeyArn": (
            "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey",
        ),
        "Layers": ("lambda:GetLayerVersion",),
        "PublishToLatestPublished": ("lambda:PublishVersion",),
        "RecursiveLoop": ("lambda:PutFunctionRecursionConfig",),

        "RuntimeManagementConfig": ("lambda:PutRuntimeManagementConfig",),
        "S3Bucket": ("s3:GetObject", "s3:GetObjectVersion"),
    },
    "AWS::Lambda::Version": {
        "FunctionScalingConfig": ("lambda:PutFunctionScalingConfig",),
        "ProvisionedConcurrencyConfig": ("lambda:PutProvisionedConcurrencyConfig",),
        "RuntimePolicy": ("lambda:PutRuntimeManagementConfig",),
    },
    "AWS::Logs::LogGroup": {
        "BearerTokenAuthenticationEnabled": ("logs:PutBearerTokenAuthentication",),
        "DataProtectionPolicy": (
            "firehose:TagDeliveryStream", "logs:CreateLogDelivery", "logs:DeleteDataProtectionPolicy",
            "logs:PutDataProtectionPolicy", "s3:REST.PUT.OBJECT",
        ),
        "DeletionProtectionEnabled": ("logs:PutLogGroupDeletionProtection",),
        "FieldIndexPolicies": ("logs:DeleteIndexPolicy", "logs:PutIndexPolicy"),
        "KmsKeyId": ("logs:AssociateKmsKey", "logs:DisassociateKmsKey"),
        "ResourcePolicyDocument": ("logs:DeleteResourcePolicy", "logs:PutResourcePolicy"),
    },
    "AWS::SNS::Topic": {
        "DataProtectionPolicy": ("sns:PutDataProtectionPolicy",),
        "DeliveryStatusLogging": ("iam:GetRole", "iam:PassRole"),
        "Subscription": ("sns:Subscribe", "sns:Unsubscribe"),
    },
    "AWS::StepFunctions::StateMachine": {
        "DefinitionS3Location": ("s3:GetObject", "s3:GetObjectVersion"),
        "EncryptionConfiguration": ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"),
    },
}  # fmt: skip
# Actions that a handler calls only when a property that every template sets is removed or turned off.
ALWAYS_SET: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "AWS::KMS::Key": {"EnableKeyRotation": ("kms:DisableKeyRotation",)},
    "AWS::Logs::LogGroup": {"RetentionInDays": ("logs:DeleteRetentionPolicy",)},
}
# Actions that no property of the type leads to, by reason.
FOREIGN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "AWS::DynamoDB::Table": {
        "replicas are an AWS::DynamoDB::GlobalTable": (
            "dynamodb:AssociateTableReplica", "dynamodb:CreateTableReplica",
        ),
    },
    "AWS::Lambda::Function": {"no operation of the Lambda API": ("lambda:AssociateRuntimeAlias",)},
}  # fmt: skip


@cache
def schema(kind: str) -> Mapping[str, Any]:
    index = json.loads((SCHEMAS / "providers" / "us-east-1.json").read_text())
    found: dict[str, Any] = json.loads((SCHEMAS / "resources" / f"{index[kind]}.json").read_text())
    return found


def deployed() -> dict[str, list[Mapping[str, Any]]]:
    """The properties of every resource of the templates, by type."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    templates = [make(settings) for settings in (DEV, PROD) for make in (registry, pipeline)]
    alone = pipeline(replace(FUNCTIONS_ALONE, jwt=JWT), (FULL, FOR_TOKENS))
    for template in (*templates, alone):
        for resource in template["Resources"].values():
            if not resource["Type"].startswith("Custom::"):
                found.setdefault(resource["Type"], []).append(resource.get("Properties", {}))
    return dict(sorted(found.items()))


def omitted(kind: str) -> set[str]:
    return {
        action
        for table in (UNSET, ALWAYS_SET, FOREIGN)
        for actions in table.get(kind, {}).values()
        for action in actions
    }


def derived(kind: str) -> dict[str, list[str]]:
    """The actions of each handler of a type that a stack may run; those that tag count as create and update."""
    handlers = {name: set(schema(kind)["handlers"].get(name, {}).get("permissions", ())) for name in STACK_HANDLERS}
    tagging = set((schema(kind).get("tagging") or {}).get("permissions", ()))
    for name in ("create", "update"):
        handlers[name] |= tagging
    return {name: sorted(actions - omitted(kind)) for name, actions in handlers.items() if actions - omitted(kind)}


def text() -> str:
    parts = [HEAD]
    for kind in deployed():
        parts.append(f'["{kind}"]')
        parts += [f"{name} = {_array(actions)}" for name, actions in derived(kind).items()]
        parts.append("")
    return "\n".join(parts)


def _array(actions: Iterable[str]) -> str:
    quoted = [json.dumps(action) for action in actions]
    line = f"[{', '.join(quoted)}]"
    return line if len(line) <= 100 else "[\n" + "".join(f"  {each},\n" for each in quoted) + "]"


if __name__ == "__main__":
    HANDLERS.write_text(text())
