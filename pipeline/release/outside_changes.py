"""What was changed outside of the pipeline stack: reported by every release, reverted on demand."""

from __future__ import annotations

from botocore.exceptions import ClientError

from pipeline.core.events import Note, Report, step
from pipeline.drift.expected_functions import expected_functions
from pipeline.drift.function_drift import drift_of, read_drift, revert_functions
from pipeline.release.deployment import Deployment
from pipeline.stacks import StackOutputs, WantedStack


def settle_outside_changes(
    deployment: Deployment, wanted: WantedStack, pipeline: StackOutputs, report: Report
) -> tuple[str, ...]:
    """Compare functions and aliases with the deployed stack; return the names of those that were put back.

    Without ``deployment.revert_drift`` only a note says what differs. With it CloudFormation has already reverted what
    a drift-aware change set covers; a note names what neither it nor Lambda could change back. Raises FunctionError.
    """
    lambda_client = deployment.target.client("lambda")
    functions = expected_functions(wanted.template_body, wanted.parameters, pipeline.stack_id)
    found = read_drift(lambda_client, functions)
    drifted = drift_of(found)
    if not deployment.revert_drift:
        for each in drifted:
            report(Note(f"changed outside of the stack: {each.text}; `up --revert-drift` puts it back"))
        return ()
    cloudformation = deployment.target.client("cloudformation")

    def version(logical_id: str) -> str | None:
        try:
            answer = cloudformation.describe_stack_resource(StackName=pipeline.stack_id, LogicalResourceId=logical_id)
        except ClientError:
            return None
        physical_id: str = answer["StackResourceDetail"].get("PhysicalResourceId", "")
        return physical_id or None

    with step(report, "revert", "functions") as running:
        revert_functions(lambda_client, found, version)
        left = {each.name: each for each in drift_of(read_drift(lambda_client, functions))} if drifted else {}
        reverted = tuple(each.name for each in drifted if each.name not in left)
        running.detail = ", ".join(reverted) or "none"
    for each in drifted:
        if each.name not in left:
            report(Note(f"put back: {each.text}"))
    for each in left.values():
        report(Note(f"not put back: {each.text}"))
    return reverted
