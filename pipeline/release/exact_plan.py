"""A plan as a file: what a release was planned to do, in digests, and the state of both stacks that it was planned for.

The file has no content to deploy. A release makes everything again from the sources, and is refused by name if the
result, or a stack, is not what the plan says. So a plan that was changed by hand can only be refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from cfn.names import SHIFT_TRAFFIC
from pipeline.assembly.model import CheckedImage
from pipeline.core.documents import parse_json
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.core.shown import first_few, shown
from pipeline.core.tables import WrongTable, convert
from pipeline.ledger.releases import template_digest
from pipeline.oci.values import Digest
from pipeline.stacks import StackState, WantedStack

FORMAT = 1
_AGAIN = NextStep("Plan again, and apply the new plan", ("plan", "--out", "FILE"))


class ExactStack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stack in a plan.

    before      the digest of the stack's content when it was planned (``content_of``)
    template    the digest of the planned template
    parameters  the planned parameters, without images
    imported    logical ids of what an earlier stack left behind and this one would import
    """

    before: str
    template: str
    parameters: dict[str, str]
    imported: list[str] = []


class ExactPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a release was planned to do.

    place        the AWS (``Target.place``), and the environment with its project
    images       function → the digest of its image's config, which identifies it (``pipeline.release.recompressed``);
                 of an image that was chosen by its manifest's digest, that one
    stacks       by name
    """

    format: int
    place: str
    environment: str
    images: dict[str, str]
    stacks: dict[str, ExactStack]


def exact_plan(
    place: str,
    environment: str,
    images: Mapping[str, CheckedImage],
    stacks: Mapping[str, tuple[StackState, WantedStack]],
    image_parameters: frozenset[str],
) -> ExactPlan:
    """The plan of these images and stacks. image_parameters: names of the parameters that images fill."""
    return ExactPlan(
        FORMAT,
        place,
        environment,
        {name: str(_identity(image)) for name, image in sorted(images.items())},
        {
            name: ExactStack(
                str(content_of(state)),
                str(template_digest(wanted.template_body)),
                _parameters(wanted, image_parameters),
                sorted(each.logical_id for each in wanted.existing),
            )
            for name, (state, wanted) in sorted(stacks.items())
        },
    )


def _identity(checked: CheckedImage) -> Digest:
    return checked.image.digest if checked.exact else checked.image.config_descriptor.digest


def content_of(state: StackState) -> Digest:
    """The digest of what a stack is made from: its identity, template, parameters and tags."""
    # The template of a stack that cannot be updated, such as one in the middle of an operation, is not read.
    parts = [
        state.stack_id,
        state.template or state.status,
        sorted(state.parameters.items()),
        sorted(state.tags.items()),
    ]
    return Digest.of(json.dumps([] if state.status.gone else parts).encode())


def encode_plan(plan: ExactPlan) -> bytes:
    """The plan as a file, with a digest of its content."""
    content = msgspec.to_builtins(plan)
    return (json.dumps({"plan": content, "digest": str(_digest(content))}, indent=2, sort_keys=True) + "\n").encode()


def decode_plan(content: bytes) -> ExactPlan:
    """Read a file of ``encode_plan``. Raises ReleaseError for anything else, also for one that was changed."""
    try:
        document = parse_json(content)
        plan, digest = document["plan"], document["digest"]
        if digest != str(_digest(plan)):
            raise ValueError("it was changed after it was written: its digest does not match")
        if plan.get("format") != FORMAT:
            raise ValueError(f"its format is {plan.get('format')!r}, and this version reads {FORMAT}")
        return convert(plan, ExactPlan)
    except (WrongTable, ValueError, LookupError, TypeError, AttributeError) as problem:
        reason = str(problem) if isinstance(problem, ValueError) else "it is no plan"
        raise ReleaseError("nothing was deployed: the plan cannot be used", reason, _AGAIN) from problem


def require_own(plan: ExactPlan, place: str, environment: str) -> None:
    """Raise ReleaseError for the plan of another AWS, region or environment."""
    foreign = [
        f"it is a plan for {shown(planned)}, and this is {own}"
        for planned, own in ((plan.place, place), (plan.environment, environment))
        if planned != own
    ]
    if foreign:
        raise ReleaseError(
            "nothing was deployed: the plan is another's",
            "; ".join(foreign),
            "Give the --environment, --target, --region and credentials that it was made with.",
        )


def require_same(planned: ExactPlan, now: ExactPlan, settled: Collection[str]) -> None:
    """Raise ReleaseError with everything that a plan made now would do otherwise.

    settled  the stacks that are already as they would be: the plan was applied to them, perhaps by a run that was
             interrupted, which this one completes
    """
    if findings := [*_differences(planned, now, settled)]:
        raise ReleaseError("nothing was deployed: the plan does not hold any more", "; ".join(findings), _AGAIN)


def require_before(planned: ExactPlan, state: StackState) -> None:
    """Raise ReleaseError if a stack that is about to be changed is not the one of the plan any more."""
    if planned.stacks[state.name].before != str(content_of(state)):
        raise ReleaseError(
            f"the stack {state.name} was not changed", "another release changed it after the plan was made", _AGAIN
        )


def _differences(planned: ExactPlan, now: ExactPlan, settled: Collection[str]) -> Iterator[str]:
    for name in sorted(planned.images.keys() | now.images.keys()):
        before, after = planned.images.get(name), now.images.get(name)
        if before is None or after is None:
            yield f"the function {shown(name)} is {'new' if before is None else 'gone'}"
        elif before != after:
            yield f"the image of {name} is another one: its sources changed"
    for name in sorted(planned.stacks.keys() | now.stacks.keys()):
        stack, current = planned.stacks.get(name), now.stacks.get(name)
        if stack is None or current is None:
            yield f"the stack {shown(name)} is {'not in the plan' if stack is None else 'only in the plan'}"
            continue
        if stack.before != current.before and name not in settled:
            yield f"the stack {name} was changed after the plan was made"
        if stack.template != current.template:
            yield f"the template of {name} is another one: the settings, a function.toml or this program changed"
        if stack.imported != current.imported:
            given, had = (first_few(each.imported) or "nothing" for each in (current, stack))
            yield f"the stack {name} would import {given}, and the plan has {had}"
        for key in sorted(stack.parameters.keys() | current.parameters.keys()):
            if stack.parameters.get(key) != current.parameters.get(key):
                after, before = current.parameters.get(key), stack.parameters.get(key)
                yield f"{shown(key)} of {name} would be {after!a}, and was {before!a}"


def _parameters(wanted: WantedStack, images: frozenset[str]) -> dict[str, str]:
    # Whether traffic is shifted follows from the images.
    return {name: value for name, value in sorted(wanted.parameters.items()) if name not in {*images, SHIFT_TRAFFIC}}


def _digest(content: Any) -> Digest:
    return Digest.of(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
