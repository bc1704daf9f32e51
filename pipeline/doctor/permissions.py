"""Every AWS action that each command needs, in one place: what doctor simulates and docs/recovery.md lists.

Two sorts: what this program calls itself, which a test holds against recorded runs; and what CloudFormation calls with
the caller's own permissions for each resource type of the templates, which a test holds against the ``handlers`` of
CloudFormation's resource schemas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class On(StrEnum):
    """What an action is allowed on: the form of the ARN that a narrow policy would name."""

    ANYTHING = "*"
    STACKS = "the two stacks"
    REPOSITORIES = "the repositories"
    FUNCTIONS = "the functions"
    STATE_MACHINE = "the state machine"
    EXECUTIONS = "the state machine's executions"
    TABLE = "the state table"
    TOPICS = "the topics"
    QUEUE = "the dead-letter queue"
    LOG_GROUPS = "the log groups"
    ROLES = "the roles that the stacks make"
    POLICIES = "the managed policy that the pipeline stack makes"
    ALARMS = "the alarms"
    LEDGER = "the parameter that holds the releases"
    TEMPLATES_BUCKET = "the bucket for templates"


@dataclass(frozen=True, slots=True)
class Permission:
    """``Permission("ecr:PutImage", On.REPOSITORIES)``."""

    action: str
    on: On


def _on(what: On, *actions: str) -> tuple[Permission, ...]:
    return tuple(Permission(action, what) for action in actions)


_READ_STACKS = _on(On.STACKS, "cloudformation:DescribeStacks", "cloudformation:GetTemplate")

# AWS documentation, Amazon ECR user guide, "IAM permissions for pushing an image" and "… for pulling an image".
_PUSH = (
    *_on(On.ANYTHING, "ecr:GetAuthorizationToken"),
    *_on(
        On.REPOSITORIES,
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    ),
)

_CHANGE_STACKS = (
    *_READ_STACKS,
    *_on(
        On.STACKS,
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:ExecuteChangeSet",
    ),
)

# Called only on the way out of a failure, or where somebody else left something behind.
RECOVERING = _on(
    On.STACKS,
    "cloudformation:ContinueUpdateRollback",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeEvents",
    "cloudformation:ListChangeSets",
    "cloudformation:ListStackResources",
    "cloudformation:RollbackStack",
)

# Called only where a template is too large to be sent with the request (more than 51,200 bytes).
LARGE_TEMPLATES = _on(
    On.TEMPLATES_BUCKET,
    "s3:CreateBucket",
    "s3:GetLifecycleConfiguration",
    "s3:GetObject",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutObject",
)

_READ_LEDGER = _on(On.LEDGER, "ssm:GetParameterHistory")
_WRITE_LEDGER = _on(On.LEDGER, "ssm:GetParameters", "ssm:LabelParameterVersion", "ssm:PutParameter")
_FIND_EXISTING = (
    *_on(On.ANYTHING, "logs:DescribeLogGroups"),
    *_on(On.REPOSITORIES, "ecr:DescribeRepositories"),
    *_on(On.TABLE, "dynamodb:DescribeTable"),
    *_on(On.QUEUE, "sqs:GetQueueUrl"),
)
# A function that was pointed elsewhere by hand is pointed back.
_SWITCH = _on(
    On.FUNCTIONS, "lambda:GetFunction", "lambda:PublishVersion", "lambda:UpdateAlias", "lambda:UpdateFunctionCode"
)
_PREPARE = (
    *_CHANGE_STACKS,
    *_FIND_EXISTING,
    *_on(On.ANYTHING, "ec2:DescribeManagedPrefixLists", "lambda:GetAccountSettings"),
)
_READ_IMAGES = _on(On.REPOSITORIES, "ecr:BatchGetImage", "ecr:DescribeImages")
_SUBMIT = _on(On.STATE_MACHINE, "states:StartSyncExecution")

# What each command calls itself. sts:GetCallerIdentity is in none: nobody can be denied it (API_GetCallerIdentity).
CALLED: Mapping[str, tuple[Permission, ...]] = {
    "up": (*_PREPARE, *_PUSH, *_SWITCH, *_WRITE_LEDGER, *_SUBMIT),
    "infra": _PREPARE,
    "plan": (
        *_READ_STACKS,
        *_FIND_EXISTING,
        *_on(On.ANYTHING, "ec2:DescribeManagedPrefixLists", "lambda:GetAccountSettings"),
        *_on(
            On.STACKS,
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteChangeSet",
            "cloudformation:DescribeChangeSet",
        ),
    ),
    "status": (*_READ_STACKS, *_on(On.FUNCTIONS, "lambda:GetFunction")),
    "submit": (*_READ_STACKS, *_SUBMIT),
    "explain": (
        *_READ_STACKS,
        *_on(On.TABLE, "dynamodb:GetItem"),
        *_on(On.LOG_GROUPS, "logs:FilterLogEvents"),
    ),
    "logs": _on(On.LOG_GROUPS, "logs:FilterLogEvents"),
    "invoke": _on(On.FUNCTIONS, "lambda:InvokeFunction"),
    "redrive": (
        *_READ_STACKS,
        *_SUBMIT,
        *_on(On.TABLE, "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem"),
        *_on(
            On.QUEUE, "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"
        ),
    ),
    "releases": _READ_LEDGER,
    "rollback": (
        *_CHANGE_STACKS,
        *_READ_IMAGES,
        *_SWITCH,
        *_READ_LEDGER,
        *_WRITE_LEDGER,
        *_on(On.LEDGER, "ssm:GetParameter"),
        *_on(On.REPOSITORIES, "ecr:PutImage"),
        # The template that was kept with the release's images.
        *_on(On.ANYTHING, "ecr:GetAuthorizationToken"),
        *_on(On.REPOSITORIES, "ecr:GetDownloadUrlForLayer"),
    ),
    "prune": (
        *_READ_STACKS,
        *_READ_IMAGES,
        *_READ_LEDGER,
        *_on(On.REPOSITORIES, "ecr:BatchDeleteImage"),
        *_on(On.FUNCTIONS, "lambda:GetFunction", "lambda:ListVersionsByFunction"),
        *_on(On.ANYTHING, "lambda:ListFunctions"),
    ),
    "down": (
        *_READ_STACKS,
        *_on(On.STACKS, "cloudformation:DeleteStack", "cloudformation:DescribeStackEvents"),
        *_on(On.ANYTHING, "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces"),
        *_on(On.FUNCTIONS, "lambda:DeleteFunction", "lambda:GetFunctionConfiguration"),
        *_on(On.LEDGER, "ssm:DeleteParameter"),
    ),
    "doctor": (
        *_READ_STACKS,
        *_on(On.STACKS, "cloudformation:ListStackResources"),
        *_FIND_EXISTING,
        *_on(
            On.ANYTHING,
            "codedeploy:GetApplication",
            "ec2:DescribeAvailabilityZones",
            "ec2:DescribeManagedPrefixLists",
            "ec2:DescribeRegions",
            "ec2:DescribeVpcEndpointServices",
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeVpcs",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "kms:DescribeKey",
            "kms:GetKeyPolicy",
            "lambda:GetAccountSettings",
            "servicequotas:GetServiceQuota",
            "states:ValidateStateMachineDefinition",
        ),
        *_on(On.ALARMS, "cloudwatch:DescribeAlarms"),
        *_on(
            On.REPOSITORIES,
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
            "ecr:GetRepositoryPolicy",
        ),
        *_on(On.FUNCTIONS, "lambda:GetFunctionConfiguration"),
        *_on(On.TOPICS, "sns:GetTopicAttributes"),
        *_on(On.STATE_MACHINE, "states:DescribeStateMachine"),
    ),
}

# What CloudFormation calls with the caller's permissions, by resource type: those of its handlers' permissions that the
# properties in the templates lead to (CloudFormation resource schemas, "handlers"), for creation, update and deletion.
BY_RESOURCE_TYPE: Mapping[str, tuple[Permission, ...]] = {
    "AWS::CloudWatch::Alarm": _on(
        On.ALARMS,
        "cloudwatch:DeleteAlarms",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:ListTagsForResource",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:TagResource",
    ),
    "AWS::CodeDeploy::Application": _on(
        On.ANYTHING,
        "codedeploy:CreateApplication",
        "codedeploy:DeleteApplication",
        "codedeploy:GetApplication",
        "codedeploy:ListTagsForResource",
        "codedeploy:TagResource",
    ),
    "AWS::CodeDeploy::DeploymentGroup": (
        *_on(
            On.ANYTHING,
            "codedeploy:CreateDeployment",
            "codedeploy:CreateDeploymentGroup",
            "codedeploy:DeleteDeploymentGroup",
            "codedeploy:GetDeployment",
            "codedeploy:GetDeploymentConfig",
            "codedeploy:GetDeploymentGroup",
            "codedeploy:RegisterApplicationRevision",
            "codedeploy:UpdateDeploymentGroup",
        ),
        *_on(On.ROLES, "iam:PassRole"),
    ),
    "AWS::DynamoDB::Table": _on(
        On.TABLE,
        "dynamodb:CreateTable",
        "dynamodb:DeleteTable",
        "dynamodb:DescribeContinuousBackups",
        "dynamodb:DescribeTable",
        "dynamodb:DescribeTimeToLive",
        "dynamodb:ListTagsOfResource",
        "dynamodb:TagResource",
        "dynamodb:UpdateContinuousBackups",
        "dynamodb:UpdateTable",
        "dynamodb:UpdateTimeToLive",
    ),
    "AWS::EC2::RouteTable": _on(
        On.ANYTHING, "ec2:CreateRouteTable", "ec2:CreateTags", "ec2:DeleteRouteTable", "ec2:DescribeRouteTables"
    ),
    "AWS::EC2::SecurityGroup": _on(
        On.ANYTHING,
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateSecurityGroup",
        "ec2:CreateTags",
        "ec2:DeleteSecurityGroup",
        "ec2:DescribeSecurityGroups",
        "ec2:RevokeSecurityGroupEgress",
    ),
    "AWS::EC2::Subnet": _on(
        On.ANYTHING,
        "ec2:CreateSubnet",
        "ec2:CreateTags",
        "ec2:DeleteSubnet",
        "ec2:DescribeSubnets",
        "ec2:ModifySubnetAttribute",
    ),
    "AWS::EC2::SubnetRouteTableAssociation": _on(
        On.ANYTHING, "ec2:AssociateRouteTable", "ec2:DescribeRouteTables", "ec2:DisassociateRouteTable"
    ),
    "AWS::EC2::VPC": _on(
        On.ANYTHING,
        "ec2:CreateTags",
        "ec2:CreateVpc",
        "ec2:DeleteVpc",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcs",
        "ec2:ModifyVpcAttribute",
    ),
    "AWS::EC2::VPCEndpoint": _on(
        On.ANYTHING,
        "ec2:CreateVpcEndpoint",
        "ec2:DeleteVpcEndpoints",
        "ec2:DescribeVpcEndpoints",
        "ec2:ModifyVpcEndpoint",
    ),
    "AWS::ECR::Repository": _on(
        On.REPOSITORIES,
        "ecr:CreateRepository",
        "ecr:DeleteRepository",
        "ecr:DescribeRepositories",
        "ecr:GetLifecyclePolicy",
        "ecr:GetRepositoryPolicy",
        "ecr:ListTagsForResource",
        "ecr:PutImageScanningConfiguration",
        "ecr:PutImageTagMutability",
        "ecr:PutLifecyclePolicy",
        "ecr:SetRepositoryPolicy",
        "ecr:TagResource",
    ),
    "AWS::IAM::ManagedPolicy": _on(
        On.POLICIES,
        "iam:CreatePolicy",
        "iam:CreatePolicyVersion",
        "iam:DeletePolicy",
        "iam:DeletePolicyVersion",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:ListEntitiesForPolicy",
        "iam:ListPolicyVersions",
    ),
    "AWS::IAM::Role": _on(
        On.ROLES,
        "iam:AttachRolePolicy",
        "iam:CreateRole",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:PutRolePolicy",
        "iam:TagRole",
        "iam:UpdateAssumeRolePolicy",
    ),
    "AWS::KMS::Alias": _on(On.ANYTHING, "kms:CreateAlias", "kms:DeleteAlias", "kms:ListAliases"),
    "AWS::KMS::Key": _on(
        On.ANYTHING,
        "kms:CreateKey",
        "kms:DescribeKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:ScheduleKeyDeletion",
        "kms:TagResource",
    ),
    "AWS::Lambda::Alias": _on(
        On.FUNCTIONS, "lambda:CreateAlias", "lambda:DeleteAlias", "lambda:GetAlias", "lambda:UpdateAlias"
    ),
    "AWS::Lambda::Function": (
        *_on(
            On.FUNCTIONS,
            "lambda:CreateFunction",
            "lambda:DeleteFunction",
            "lambda:DeleteFunctionConcurrency",
            "lambda:GetFunction",
            "lambda:PutFunctionConcurrency",
            "lambda:TagResource",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
        ),
        *_on(On.ROLES, "iam:PassRole"),
        *_on(On.ANYTHING, "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
    ),
    "AWS::Lambda::Version": _on(
        On.FUNCTIONS, "lambda:DeleteFunction", "lambda:ListVersionsByFunction", "lambda:PublishVersion"
    ),
    "AWS::Logs::LogGroup": _on(
        On.LOG_GROUPS,
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DescribeLogGroups",
        "logs:ListTagsForResource",
        "logs:PutRetentionPolicy",
        "logs:TagResource",
    ),
    "AWS::SNS::Topic": _on(
        On.TOPICS,
        "sns:CreateTopic",
        "sns:DeleteTopic",
        "sns:GetTopicAttributes",
        "sns:ListTagsForResource",
        "sns:SetTopicAttributes",
        "sns:TagResource",
    ),
    "AWS::SNS::TopicPolicy": _on(On.TOPICS, "sns:SetTopicAttributes"),
    "AWS::SQS::Queue": _on(
        On.QUEUE,
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ListQueueTags",
        "sqs:SetQueueAttributes",
        "sqs:TagQueue",
    ),
    "AWS::SQS::QueuePolicy": _on(On.QUEUE, "sqs:SetQueueAttributes"),
    "AWS::StepFunctions::StateMachine": (
        *_on(
            On.STATE_MACHINE,
            "states:CreateStateMachine",
            "states:DeleteStateMachine",
            "states:DescribeStateMachine",
            "states:ListTagsForResource",
            "states:TagResource",
            "states:UpdateStateMachine",
        ),
        *_on(On.ROLES, "iam:PassRole"),
    ),
    # The custom resource: CloudFormation invokes its function as the caller.
    "Custom::PlaceholderImage": _on(On.FUNCTIONS, "lambda:InvokeFunction"),
}


def permissions_of_up(resource_types: Iterable[str], *, large: bool = False) -> tuple[Permission, ...]:
    """Everything that ``up`` needs for stacks of these resource types, sorted, each once.

    large  a template has more bytes than a request takes
    """
    found = {*CALLED["up"], *RECOVERING, *(LARGE_TEMPLATES if large else ())}
    for kind in resource_types:
        found.update(BY_RESOURCE_TYPE[kind])
    return tuple(sorted(found, key=lambda each: (each.on, each.action)))
