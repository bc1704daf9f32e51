"""The sample transaction that a release is tried with, and the way back if it is not answered."""

from __future__ import annotations

import json
import uuid

from cfn.names import image_parameter, repository_output
from pipeline.core.errors import NextStep, ReleaseError, SubmissionError
from pipeline.core.events import Report, step
from pipeline.ledger.releases import Release
from pipeline.release.deployment import Deployment, current_images, go_back
from pipeline.stacks import StackOutputs, StackState
from pipeline.transactions.submit import Answer, submit

SAMPLE = {"amount": 100, "currency": "USD", "merchant_id": "merchant-001", "customer_id": "customer-001"}


def try_release(
    deployment: Deployment,
    stacks: tuple[StackOutputs, StackOutputs],
    before: StackState,
    last: Release | None,
    report: Report,
) -> Answer:
    """Submit a sample transaction. If it is not answered, take the release back and raise ReleaseError.

    Functions go back to the last recorded release, or else to the images that stack 2 had ``before``.
    """
    registry, pipeline = stacks
    try:
        return submit_sample(deployment, pipeline, report)
    except SubmissionError as problem:
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
                f"{environment} was released, but a sample transaction was not answered",
                f"{problem.what}: {problem.why}",
                NextStep("There is no earlier release to go back to. Fix the cause and release again", ("up",)),
            ) from problem
        go_back(deployment, before, images, report)
        raise ReleaseError(
            f"the release of {environment} was taken back: its functions run what they ran before",
            f"the sample transaction {problem.what}: {problem.why}",
            NextStep("Fix the cause and release again (--no-smoke releases without the sample)", ("up",)),
        ) from problem


def submit_sample(deployment: Deployment, pipeline: StackOutputs, report: Report) -> Answer:
    """Submit a harmless transaction, with an id and a customer that no other one has, to the whole workflow."""
    mark = uuid.uuid4().hex[:12]
    transaction = {"transaction_id": f"sample-{mark}", **SAMPLE, "customer_id": f"sample-{mark}"}
    with step(report, "sample transaction") as running:
        client = deployment.target.client("stepfunctions")
        answer = submit(client, pipeline["StateMachineArn"], json.dumps(transaction))
        running.detail = answer.outcome
    return answer
