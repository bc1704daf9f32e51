"""CloudFormation's refusals: stacks and change sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict import control_plane
from pipeline.local.emulator.strict.refusal import Fields, Refusal

# No update can start from these (CloudFormation user guide, Stack status codes); ministack refuses its own operations
# in progress.
NOT_UPDATABLE = {
    "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", "DELETE_COMPLETE",
    "IMPORT_ROLLBACK_FAILED",
}  # fmt: skip
# A CREATE change set may take over such a stack.
CREATABLE = {"REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}


def _exists(parameters: Mapping[str, Any]) -> Fields:
    stack = control_plane.stack(parameters.get("StackName", ""))
    if parameters.get("ChangeSetType") != "CREATE" or stack is None or stack["StackStatus"] in CREATABLE:
        return None
    return {"stack": parameters["StackName"], "change_set": parameters.get("ChangeSetName", "")}


def _not_updatable(parameters: Mapping[str, Any]) -> Fields:
    stack = control_plane.stack(parameters.get("StackName", ""))
    if parameters.get("ChangeSetType", "UPDATE") == "CREATE" or stack is None:
        return None
    status = stack["StackStatus"]
    # A deleted stack is found by its id only; its name is free.
    if status not in NOT_UPDATABLE or (status == "DELETE_COMPLETE" and parameters["StackName"] != stack["StackId"]):
        return None
    return {"stack": stack["StackId"], "status": status}


def _updated_in_review(parameters: Mapping[str, Any]) -> Fields:
    stack = control_plane.stack(parameters.get("StackName", ""))
    if stack is None or stack["StackStatus"] != "REVIEW_IN_PROGRESS":
        return None
    return {"stack": stack["StackId"], "status": stack["StackStatus"]}


_STATE = "Stack:{stack} is in {status} state and can not be updated."
STACK_REFUSALS = (
    Refusal(
        "cloudformation", "CreateChangeSet", "type CREATE, and the stack exists, also in ROLLBACK_COMPLETE",
        "ValidationError",
        "Stack [{stack}] already exists and cannot be created again with the changeSet [{change_set}].",
        "R test_changesets::test_name_conflicts", _exists,
    ),
    *(
        Refusal(
            "cloudformation", call, "the stack is in a status that no update starts from, such as ROLLBACK_COMPLETE",
            "ValidationError", _STATE,
            "R test_changesets::test_create_changeset_for_deleted_stack; D Stack status codes", _not_updatable,
        )
        for call in ("CreateChangeSet", "UpdateStack")
    ),
    Refusal(
        "cloudformation", "UpdateStack", "the stack is in REVIEW_IN_PROGRESS", "ValidationError", _STATE,
        "D Stack status codes", _updated_in_review,
    ),
)  # fmt: skip
