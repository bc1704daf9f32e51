"""Stack 1: a repository per function, and in each a placeholder image, so that stack 2 never meets a missing image."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from troposphere import AWSObject, FindInMap, GetAtt, Output, Ref, Sub, Template, awslambda, ecr, iam, logs

from cfn import placeholder
from cfn.lambdas import json_logging, lambda_trust_policy, write_logs_statement
from cfn.names import Names, pascal_case, placeholder_output, repository_output, repository_resource
from cfn.own_resources import resolve_own
from cfn.settings import FunctionDefinition, Settings
from cfn.template import OpenTemplate
from cfn.validation import check_functions, check_settings

# Build caches: their tags move, and they may go by themselves. Lambda cannot run them at all.
CACHE_TAGS = "cache-*"
# The list of what refers to an image (its SBOM, its signatures), where a client keeps it under a tag: it grows, so its
# tag moves (OCI distribution specification, "Referrers Tag Schema").
REFERRER_TAGS = "sha256-*"

# Lifecycle rules do not know what is deployed, and one for untagged images deletes what runs by digest. So nothing but
# caches expires here. The first rule exists for its order: an image that matches a rule's tags cannot be expired by
# a later one (Amazon ECR user guide, "Lifecycle policy evaluation rules"), so an image with such a tag is kept even
# if it also has a cache tag. 100 years means never; zero is not allowed.
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": priority,
                "description": description,
                "selection": {
                    "tagStatus": "tagged",
                    "tagPatternList": [pattern],
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": days,
                },
                "action": {"type": "expire"},
            }
            for priority, description, pattern, days in (
                (1, "keep releases", "release-*", 36_500),
                (2, "keep placeholders", "placeholder-*", 36_500),
                (3, "expire build caches", CACHE_TAGS, 14),
            )
        ]
    },
    separators=(",", ":"),
)

# Lambda user guide, "Create a function using a container image": what Lambda needs of a repository. It names the
# function that it pulls for in aws:sourceARN.
PULL_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "LambdaPullsImages",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Condition": {
                "StringLike": {
                    "aws:sourceARN": Sub("arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*")
                }
            },
        }
    ],
}


class PlaceholderImage(AWSObject):  # type: ignore[misc]
    """The custom resource that ``cfn.placeholder`` answers. Attribute: Digest."""

    resource_type = "Custom::PlaceholderImage"
    props = {  # noqa: RUF012 - troposphere declares it so
        "ServiceToken": (str, True),
        "ServiceTimeout": (int, True),
        "RepositoryName": (str, True),
        "Architecture": (str, True),
        "Digest": (str, True),
    }


def registry_template(settings: Settings, functions: Sequence[FunctionDefinition]) -> OpenTemplate:
    """The registry stack of one environment; its outputs are each function's repository and placeholder URI.

    Raises SettingsError for settings or functions that cannot be deployed.
    """
    check_settings(settings)
    functions = resolve_own(settings, functions)
    check_functions(settings, functions)
    functions = sorted(functions, key=lambda function: function.name)  # whatever order they were found in
    names = settings.names
    template = OpenTemplate(Description=f"Image repositories and placeholder images of {settings.environment}.")
    template.set_version("2010-09-09")
    if functions:
        template.add_mapping("Lifecycle", {"Repositories": {"Policy": LIFECYCLE}})
    repositories = {function.name: _add_repository(template, settings, names, function) for function in functions}
    if not repositories:
        return template
    pusher = _add_pusher(template, settings, names, list(repositories.values()))
    digest = placeholder.placeholder_digest(settings.architecture)
    for function in functions:
        stem, repository = pascal_case(function.name), repositories[function.name]
        image = template.add_resource(
            PlaceholderImage(
                f"{stem}Placeholder",
                ServiceToken=GetAtt(pusher, "Arn"),
                ServiceTimeout=120,
                RepositoryName=Ref(repository),
                Architecture=str(settings.architecture),
                # A placeholder that changes must be pushed again, and CloudFormation compares properties only.
                Digest=digest,
            )
        )
        uri = GetAtt(repository, "RepositoryUri")
        template.add_output(Output(repository_output(function.name), Value=uri))
        template.add_output(
            Output(
                placeholder_output(function.name),
                Value=Sub(f"${{{repository.title}.RepositoryUri}}@${{{image.title}.Digest}}"),
            )
        )
    return template


def placeholder_source() -> str:
    """The source of ``cfn.placeholder`` without docstrings, comments and blank lines: the function's inline code.

    Lines are dropped, never rewritten, so every Python version that synthesises comes to the same text.
    """
    text = Path(placeholder.__file__).read_text(encoding="utf-8")
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            dropped.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    kept = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.partition("  # noqa")[0].rstrip()
        if number not in dropped and code and not code.lstrip().startswith("#"):
            kept.append(code)
    return "\n".join(kept) + "\n"


def _add_repository(template: Template, settings: Settings, names: Names, function: FunctionDefinition) -> Any:
    policy = "Retain" if settings.protect_data else "Delete"
    return template.add_resource(
        ecr.Repository(
            repository_resource(function.name),
            RepositoryName=names.repository(function.name),
            # Tags are immutable, except these patterns, whose images no function can run.
            ImageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            ImageTagMutabilityExclusionFilters=[
                ecr.ImageTagMutabilityExclusionFilter(
                    ImageTagMutabilityExclusionFilterType="WILDCARD", ImageTagMutabilityExclusionFilterValue=pattern
                )
                for pattern in (CACHE_TAGS, REFERRER_TAGS)
            ],
            ImageScanningConfiguration=ecr.ImageScanningConfiguration(ScanOnPush=True),
            EncryptionConfiguration=ecr.EncryptionConfiguration(EncryptionType=settings.encryption),
            # A protected repository is retained, so CloudFormation deletes it only when it rolls its creation back. The
            # placeholder is in it by then, and a repository that is not emptied would end that in ROLLBACK_FAILED.
            EmptyOnDelete=True,
            RepositoryPolicyText=PULL_POLICY,
            # Once for all repositories: it is a third of what each of them would add to the template.
            LifecyclePolicy=ecr.LifecyclePolicy(LifecyclePolicyText=FindInMap("Lifecycle", "Repositories", "Policy")),
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
        )
    )


def _add_pusher(template: Template, settings: Settings, names: Names, repositories: Sequence[Any]) -> Any:
    log_group = template.add_resource(
        logs.LogGroup(
            "PlaceholderLogGroup",
            LogGroupName=names.placeholder_function,
            RetentionInDays=settings.log_retention_days,
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        )
    )
    role = template.add_resource(
        iam.Role(
            "PlaceholderRole",
            Description="Pushes placeholder images into the repositories of this stack.",
            AssumeRolePolicyDocument=lambda_trust_policy(),
            Policies=[
                iam.Policy(
                    PolicyName="push-placeholders",
                    PolicyDocument={
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": [
                                    "ecr:CompleteLayerUpload",
                                    "ecr:DescribeImages",
                                    "ecr:InitiateLayerUpload",
                                    "ecr:PutImage",
                                    "ecr:UploadLayerPart",
                                ],
                                "Resource": [GetAtt(repository, "Arn") for repository in repositories],
                            },
                            write_logs_statement(log_group),
                        ],
                    },
                )
            ],
        )
    )
    return template.add_resource(
        awslambda.Function(
            "PlaceholderFunction",
            FunctionName=names.placeholder_function,
            Description="Pushes a placeholder image, so that functions can be created before their images are built.",
            Runtime="python3.13",
            Handler="index.handler",
            Architectures=[str(settings.architecture)],
            Code=awslambda.Code(ZipFile=placeholder_source()),
            Role=GetAtt(role, "Arn"),
            # Importing boto3 takes half a second of a whole vCPU, and memory buys vCPU (1,769 MB is one).
            MemorySize=1024,
            Timeout=60,
            LoggingConfig=json_logging(log_group),
        )
    )
