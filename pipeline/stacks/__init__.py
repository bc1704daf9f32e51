"""CloudFormation stacks: read the state, decide what to do, do it.

    read_stack(cfn, name)          -> StackState    the deployed stack
    plan_stack(state, wanted)      -> StackPlan     the decision; pure, with its table in docs/stacks.md
    describe_change(cfn, plan)     -> changes       per resource, before anything changes
    apply_stack(cfn, plan, report) -> StackOutputs  executes the decision; safe to repeat after a crash
    delete_stack(cfn, name, report), delete_keeping(cfn, name, retain, report)

``cfn`` is a boto3 CloudFormation client. botocore's errors for credentials and connections are not caught.
"""

from pipeline.stacks.apply import apply_stack
from pipeline.stacks.changes import PropertyChange, ResourceChange, describe_change
from pipeline.stacks.changeset import Upload
from pipeline.stacks.deletion import delete_stack
from pipeline.stacks.existing import RetainedResource, data_resources, find_existing, retained_resources
from pipeline.stacks.failures import ResourceFailure, StackFailed, missing_images, read_failures
from pipeline.stacks.plan import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    ExistingResource,
    NoChange,
    Refuse,
    ReplaceFailed,
    StackPlan,
    Update,
    Wait,
    WantedStack,
    plan_stack,
)
from pipeline.stacks.retention import delete_keeping
from pipeline.stacks.state import ChangeSetSummary, StackOutputs, StackState, StackStatus, read_stack

__all__ = [
    "Adopt",
    "ChangeSetSummary",
    "CleanUpReview",
    "ContinueRollback",
    "Create",
    "ExistingResource",
    "NoChange",
    "PropertyChange",
    "Refuse",
    "ReplaceFailed",
    "ResourceChange",
    "ResourceFailure",
    "RetainedResource",
    "StackFailed",
    "StackOutputs",
    "StackPlan",
    "StackState",
    "StackStatus",
    "Update",
    "Upload",
    "Wait",
    "WantedStack",
    "apply_stack",
    "data_resources",
    "delete_keeping",
    "delete_stack",
    "describe_change",
    "find_existing",
    "missing_images",
    "plan_stack",
    "read_failures",
    "read_stack",
    "retained_resources",
]
