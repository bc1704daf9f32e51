"""The AWS actions that each command calls itself; a test compares them with the requests of recorded runs.

``pipeline.doctor.handlers`` lists what CloudFormation calls with the same permissions, and ``pipeline.doctor.policy``
combines both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class On(StrEnum):
    """The resources that an action is used on; ``pipeline.doctor.policy`` gives their ARNs."""

    ANYTHING = "*"
    STACKS = "the two stacks"
    REPOSITORIES = "the repositories"
    FUNCTIONS = "the functions"
    STATE_MACHINE = "the state machine"
    EXECUTIONS = "the state machine's executions"
    TABLE = "the state table"
    TOPICS = "the topics"
    QUEUE = "the dead-letter queue"
    FUNCTION_QUEUES = "the queues of the functions"
    LOG_GROUPS = "the log groups"
    ROLES = "the roles of the stacks"
    POLICIES = "the managed policy of the pipeline stack"
    ALARMS = "the alarms"
    LEDGER = "the parameters of the releases and of the lock"
    TEMPLATES_BUCKET = "the bucket for templates"
    FILES_BUCKET = "the bucket for files"
    REHEARSAL = "the rehearsal stack and its resources"
    FILES_MACHINE = "the state machine for files, its executions and Map Runs"


@dataclass(frozen=True, slots=True)
class Permission:
    """``Permission("ecr:PutImage", On.REPOSITORIES)``."""

    action: str
    on: On


def grant(on: On, *actions: str) -> tuple[Permission, ...]:
    return tuple(Permission(action, on) for action in actions)


_READ_STACKS = grant(On.STACKS, "cloudformation:DescribeStacks", "cloudformation:GetTemplate")

# AWS documentation, Amazon ECR user guide, "IAM permissions for pushing an image" and "… for pulling an image".
_PUSH = (
    *grant(On.ANYTHING, "ecr:GetAuthorizationToken"),
    *grant(
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
    *grant(
        On.STACKS,
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:ExecuteChangeSet",
    ),
)

# Only for stacks that a failed or interrupted deployment left behind.
RECOVERING = grant(
    On.STACKS,
    "cloudformation:ContinueUpdateRollback",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeEvents",
    "cloudformation:ListChangeSets",
    "cloudformation:ListStackResources",
    "cloudformation:RollbackStack",
)

# Only for templates that are too large to be sent in a request (more than 51,200 bytes).
LARGE_TEMPLATES = grant(
    On.TEMPLATES_BUCKET,
    "s3:CreateBucket",
    "s3:GetLifecycleConfiguration",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutObject",
)

# Only for files of transactions that go through the entrance for them. Without s3:ListBucket a missing object is
# AccessDenied (API_GetObject).
FILES_ENTRANCE = (
    *grant(On.FILES_BUCKET, "s3:GetObject", "s3:ListBucket", "s3:PutObject"),
    *grant(
        On.FILES_MACHINE,
        "states:DescribeExecution",
        "states:DescribeMapRun",
        "states:ListMapRuns",
        "states:RedriveExecution",
        "states:StartExecution",
    ),
)

# Only for transactions that go through the entrance's queue; not for the dead-letter queue, which redrive trusts.
QUEUE_ENTRANCE = grant(On.FUNCTION_QUEUES, "sqs:SendMessage")

_READ_LEDGER = grant(On.LEDGER, "ssm:GetParameterHistory")
# The lock of the environment, which every run that changes it holds; it also permits to write the ledger.
_LOCK = grant(On.LEDGER, "ssm:DeleteParameter", "ssm:GetParameter", "ssm:PutParameter")
_WRITE_LEDGER = (*_LOCK, *grant(On.LEDGER, "ssm:GetParameters", "ssm:LabelParameterVersion"))
_FIND_EXISTING = (
    *grant(On.ANYTHING, "logs:DescribeLogGroups"),
    *grant(On.REPOSITORIES, "ecr:DescribeRepositories"),
    *grant(On.TABLE, "dynamodb:DescribeTable"),
    *grant(On.QUEUE, "sqs:GetQueueUrl"),
)
# Corrects a function whose image or alias was changed outside the stack.
_SWITCH = grant(
    On.FUNCTIONS,
    "lambda:GetAlias",
    "lambda:GetFunction",
    "lambda:PublishVersion",
    "lambda:UpdateAlias",
    "lambda:UpdateFunctionCode",
)
# Compares functions and their alias with the stack.
_READ_FUNCTIONS = grant(On.FUNCTIONS, "lambda:GetAlias", "lambda:GetFunction")
# Puts back what was changed outside of the stack (`up --revert-drift`).
REVERT_DRIFT = grant(
    On.FUNCTIONS,
    "lambda:DeleteFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:PutFunctionConcurrency",
    "lambda:UpdateFunctionConfiguration",
)
# Only where CloudFormation offers no drift-aware change sets (`plan --drift`).
DETECT_DRIFT = (
    *grant(On.ANYTHING, "cloudformation:DescribeStackDriftDetectionStatus"),
    *grant(On.STACKS, "cloudformation:DescribeStackResourceDrifts", "cloudformation:DetectStackDrift"),
)
# Versions older than the last one before the live one.
_DELETE_VERSIONS = grant(On.FUNCTIONS, "lambda:DeleteFunction", "lambda:ListAliases", "lambda:ListVersionsByFunction")
# For the parameters that only the account knows.
_ASK_ACCOUNT = grant(
    On.ANYTHING,
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeManagedPrefixLists",
    "ec2:DescribeVpcEndpointServices",
    "lambda:GetAccountSettings",
)
_PREPARE = (
    *_CHANGE_STACKS,
    *_FIND_EXISTING,
    *_ASK_ACCOUNT,
    *_DELETE_VERSIONS,
)
_READ_IMAGES = grant(On.REPOSITORIES, "ecr:BatchGetImage", "ecr:DescribeImages")
_SUBMIT = grant(On.STATE_MACHINE, "states:StartSyncExecution")

# What a killed rehearsal left.
_DELETE_REHEARSAL = grant(
    On.REHEARSAL,
    "cloudformation:DeleteStack",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStacks",
    "cloudformation:GetTemplate",
    "cloudformation:ListStackResources",
    "lambda:DeleteFunction",
)

_DOCTOR = (
    *_READ_STACKS,
    *grant(On.STACKS, "cloudformation:ListStackResources"),
    *_FIND_EXISTING,
    *grant(
        On.ANYTHING,
        "codedeploy:GetApplication",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeManagedPrefixLists",
        "ec2:DescribeRegions",
        "ec2:DescribeVpcEndpointServices",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
        "ecr:GetAccountSetting",
        "ecr:GetAuthorizationToken",
        "iam:GetRole",
        "iam:SimulatePrincipalPolicy",
        "kms:DescribeKey",
        "kms:GetKeyPolicy",
        "lambda:GetAccountSettings",
        "servicequotas:GetServiceQuota",
        "states:ValidateStateMachineDefinition",
    ),
    *grant(On.ALARMS, "cloudwatch:DescribeAlarms"),
    *grant(
        On.REPOSITORIES,
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:GetRepositoryPolicy",
    ),
    *_READ_FUNCTIONS,
    *grant(On.FUNCTIONS, "lambda:GetFunctionConfiguration"),
    *grant(On.TOPICS, "sns:GetTopicAttributes"),
    *grant(On.STATE_MACHINE, "states:DescribeStateMachine"),
)

_UP = (
    *_PREPARE,
    *_PUSH,
    *_SWITCH,
    *_WRITE_LEDGER,
    *_SUBMIT,
    *grant(On.REPOSITORIES, "ecr:BatchDeleteImage", "ecr:DescribeImages"),
    # Fewer requests for many functions; without it, each is asked for.
    *grant(On.ANYTHING, "lambda:ListFunctions"),
)

# Of `promote`, in the account and region that the release comes from.
PROMOTED_FROM = (
    *_READ_STACKS,
    *_READ_IMAGES,
    *grant(On.LEDGER, "ssm:GetParameter", "ssm:GetParameters"),
    *grant(On.ANYTHING, "cloudformation:ListStacks", "ecr:GetAuthorizationToken"),
    *grant(On.REPOSITORIES, "ecr:GetDownloadUrlForLayer"),
)

# Without sts:GetCallerIdentity, which needs no permission (API_GetCallerIdentity).
CALLED: Mapping[str, tuple[Permission, ...]] = {
    "up": (*_UP, *REVERT_DRIFT, *grant(On.STACKS, "cloudformation:DescribeStackResource")),
    "infra": (*_PREPARE, *_LOCK),
    "plan": (
        *_READ_STACKS,
        *_FIND_EXISTING,
        *_ASK_ACCOUNT,
        *grant(
            On.STACKS,
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteChangeSet",
            "cloudformation:DescribeChangeSet",
        ),
        *_READ_FUNCTIONS,
        *DETECT_DRIFT,
        # The layers that say what changed in an image.
        *grant(On.ANYTHING, "ecr:GetAuthorizationToken"),
        *grant(On.REPOSITORIES, "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
    ),
    "why-changed": (
        *_READ_STACKS,
        *_READ_LEDGER,
        *grant(On.ANYTHING, "ecr:GetAuthorizationToken"),
        *grant(On.REPOSITORIES, "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
    ),
    "status": (*_READ_STACKS, *_READ_FUNCTIONS),
    # The records of lines that were parked before.
    "submit": (*_READ_STACKS, *_SUBMIT, *grant(On.TABLE, "dynamodb:GetItem")),
    "explain": (
        *_READ_STACKS,
        *grant(On.TABLE, "dynamodb:GetItem"),
        *grant(On.LOG_GROUPS, "logs:FilterLogEvents"),
    ),
    "logs": grant(On.LOG_GROUPS, "logs:FilterLogEvents"),
    "invoke": grant(On.FUNCTIONS, "lambda:InvokeFunction"),
    "redrive": (
        *_READ_STACKS,
        *_SUBMIT,
        *grant(
            On.TABLE,
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
        ),
        *grant(
            On.QUEUE, "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"
        ),
    ),
    "releases": _READ_LEDGER,
    "rollback": (
        *_CHANGE_STACKS,
        *_READ_IMAGES,
        *_SWITCH,
        *_DELETE_VERSIONS,
        *_READ_LEDGER,
        *_WRITE_LEDGER,
        *grant(On.REPOSITORIES, "ecr:BatchDeleteImage", "ecr:PutImage"),
        # The template stored with the images of the release.
        *grant(On.ANYTHING, "ecr:GetAuthorizationToken"),
        *grant(On.REPOSITORIES, "ecr:GetDownloadUrlForLayer"),
    ),
    # --plan makes a change set and deletes it.
    "promote": (*_UP, *grant(On.STACKS, "cloudformation:DeleteChangeSet")),
    "prune": (
        *_READ_STACKS,
        *_READ_IMAGES,
        *_READ_LEDGER,
        *_LOCK,
        *grant(On.REPOSITORIES, "ecr:BatchDeleteImage"),
        *grant(On.FUNCTIONS, "lambda:GetFunction", "lambda:ListVersionsByFunction"),
        *grant(On.ANYTHING, "cloudformation:ListStacks", "lambda:ListFunctions"),
    ),
    # What its role may do, which it assumes, is in the rehearsal stack (cfn/rehearsal.py).
    "rehearse": (
        *_READ_STACKS,
        *_PUSH,
        *_LOCK,
        *_READ_LEDGER,
        *_DELETE_REHEARSAL,
        *grant(On.REPOSITORIES, "ecr:DescribeImages"),
        *grant(On.FUNCTIONS, "lambda:GetFunctionConfiguration"),
        *grant(
            On.REHEARSAL,
            "cloudformation:CreateChangeSet",
            "cloudformation:DescribeChangeSet",
            "cloudformation:ExecuteChangeSet",
            "sts:AssumeRole",
        ),
    ),
    "down": (
        *_READ_STACKS,
        *_DELETE_REHEARSAL,
        *grant(On.STACKS, "cloudformation:DeleteStack", "cloudformation:DescribeStackEvents"),
        *grant(
            On.ANYTHING,
            "cloudformation:DescribeStacks",
            "cloudformation:ListStacks",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
        ),
        *grant(On.FUNCTIONS, "lambda:DeleteFunction", "lambda:GetFunctionConfiguration"),
        *grant(On.LEDGER, "ssm:GetParameterHistory"),
        *_LOCK,
    ),
    "doctor": _DOCTOR,
    # Without the changes, which call what `submit`, `redrive` and `rollback` call.
    "console": (
        *grant(On.STACKS, "cloudformation:DescribeStackEvents"),
        *grant(On.TABLE, "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
        *grant(On.LOG_GROUPS, "logs:FilterLogEvents"),
        *grant(On.QUEUE, "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
        *_READ_LEDGER,
        *_DOCTOR,
    ),
}

# What `doctor --policy` gives a policy for.
POLICIES: Mapping[str, tuple[Permission, ...]] = {**CALLED, "promote-from": PROMOTED_FROM}
