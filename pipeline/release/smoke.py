"""Test a release with a sample transaction or with smoke events, and take it back if that fails."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from cfn.names import LIVE_ALIAS, image_parameter, repository_output
from pipeline.core.errors import FunctionError, NextStep, ReleaseError, SubmissionError
from pipeline.core.events import Report, step
from pipeline.ledger.releases import Release
from pipeline.operations.execute import Executed, execute
from pipeline.operations.invoke import Invoked, invoke_function
from pipeline.release.deployment import Deployment, current_images, go_back
from pipeline.release.versions import delete_superseded
from pipeline.stacks import StackOutputs, StackState
from pipeline.transactions.submit import Answer, submit

SAMPLE = {"amount": 100, "currency": "USD", "merchant_id": "merchant-001", "customer_id": "customer-001"}


@dataclass(frozen=True, slots=True)
class Trial:
    """What a release answered.

    sample    the answer to the sample transaction; None for a project without the transaction pipeline
    invoked   the functions that answered their smoke event
    executed  the execution of the project's own workflow; None without its smoke event
    """

    sample: Answer | None = None
    invoked: tuple[Invoked, ...] = ()
    executed: Executed | None = None


def try_release(
    deployment: Deployment,
    stacks: tuple[StackOutputs, StackOutputs],
    before: StackState,
    last: Release | None,
    report: Report,
) -> Trial:
    """Submit a sample transaction; or run each function, and the own workflow, that has a smoke event with it.

    If it is not answered, the stack returns to the last recorded release, or else to the images that stack 2 had
    ``before``. Raises ReleaseError.
    """
    registry, pipeline = stacks
    what = "a sample transaction" if deployment.settings.has_transactions else "a smoke event"
    try:
        if deployment.settings.has_transactions:
            return Trial(sample=submit_sample(deployment, pipeline, report))
        invoked = invoke_smoke_events(deployment, report)
        return Trial(invoked=invoked, executed=execute_smoke_event(deployment, pipeline, report))
    except (SubmissionError, FunctionError) as problem:
        environment = deployment.settings.environment
        images = current_images(deployment, before)
        if last is not None:
            images |= {
                image_parameter(name): f"{registry[repository_output(name)]}@{digest}"
                for name, digest in last.images.items()
                if repository_output(name) in registry.values and image_parameter(name) in before.parameters
            }
        if not images:
            raise ReleaseError(
                f"{environment} was released, but {what} was not answered",
                f"{problem.what}: {problem.why}",
                NextStep("There is no earlier release to go back to. Fix the cause and release again", ("up",)),
            ) from problem
        go_back(deployment, before, images, report)
        delete_superseded(deployment.target.client("lambda"), deployment.functions.values(), report)
        raise ReleaseError(
            f"the release of {environment} was taken back: its functions run their previous images",
            f"{what} was not answered: {problem.what}: {problem.why}",
            NextStep("Fix the cause and release again (--no-smoke releases without the sample)", ("up",)),
        ) from problem


def submit_sample(deployment: Deployment, pipeline: StackOutputs, report: Report) -> Answer:
    """Submit a harmless transaction with a unique id and customer."""
    mark = uuid.uuid4().hex[:12]
    transaction = {"transaction_id": f"sample-{mark}", **SAMPLE, "customer_id": f"sample-{mark}"}
    with step(report, "sample transaction") as running:
        client = deployment.target.client("stepfunctions")
        answer = submit(client, pipeline["StateMachineArn"], json.dumps(transaction))
        running.detail = answer.outcome
    return answer


def invoke_smoke_events(deployment: Deployment, report: Report) -> tuple[Invoked, ...]:
    """Invoke each function that has ``events/smoke.json`` with it. Raises FunctionError for one that fails."""
    answered = []
    for source in deployment.sources:
        if source.smoke is None:
            continue
        with step(report, "smoke event", source.name) as running:
            name = deployment.names.function(source.name)
            invoked = invoke_function(deployment.target, name, source.smoke.read_bytes(), qualifier=LIVE_ALIAS)
            if invoked.failed:
                raise FunctionError(
                    f"{name} failed", invoked.error, NextStep("Look at its log", ("logs", "--function", source.name))
                )
            running.detail = "answered"
            answered.append(invoked)
    return tuple(answered)


def execute_smoke_event(deployment: Deployment, pipeline: StackOutputs, report: Report) -> Executed | None:
    """Run the project's own workflow with its smoke event; None without one. Raises SubmissionError if it fails."""
    own = deployment.settings.own_workflow
    if own is None or not own.smoke:
        return None
    with step(report, "smoke event", "workflow") as running:
        client = deployment.target.client("stepfunctions")
        executed = execute(client, pipeline["StateMachineArn"], own.smoke, kind=own.kind)
        if executed.failed:
            raise SubmissionError("the workflow failed", executed.why, NextStep("Look at its log", ("logs",)))
        running.detail = executed.status.lower()
    return executed
