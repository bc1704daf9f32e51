"""A plan as a file: read back as written, and refused by name where it was changed, is another's or does not hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands.plan_files import read_plan, require_replaceable
from pipeline.core.errors import ReleaseError
from pipeline.oci.blobs import BlobStore
from pipeline.release.exact_plan import (
    ExactPlan,
    ExactStack,
    content_of,
    decode_plan,
    encode_plan,
    exact_plan,
    require_before,
    require_own,
    require_same,
)
from pipeline.stacks import StackState, StackStatus
from tests.servers.images import make_image, make_layer

STATE = StackState(
    "shop-pipeline-dev", StackStatus.UPDATE_COMPLETE, stack_id="arn:1", parameters={"A": "1"}, template="{}"
)
STACK = ExactStack(str(content_of(STATE)), "sha256:t", {"Zones": "a,b"})
PLAN = ExactPlan(1, "123456789012/eu-west-1", "shop/dev", {"bill": "sha256:c"}, {"shop-pipeline-dev": STACK})


def changed(**fields: Any) -> ExactPlan:
    return msgspec.structs.replace(PLAN, **fields)


def with_stack(**fields: Any) -> ExactPlan:
    return changed(stacks={"shop-pipeline-dev": msgspec.structs.replace(STACK, **fields)})


def test_it_is_read_as_it_was_written() -> None:
    assert decode_plan(encode_plan(PLAN)) == PLAN
    assert encode_plan(PLAN) == encode_plan(decode_plan(encode_plan(PLAN)))


def test_an_image_that_was_chosen_by_its_digest_is_planned_by_it(tmp_path: Path) -> None:
    built = make_image("bill", [make_layer({"var/task/a": b"1"}, BlobStore(tmp_path))])
    planned = exact_plan("here", "dev", {"built": built, "chosen": replace(built, exact=True)}, {}, frozenset())
    assert planned.images == {"built": str(built.image.config_descriptor.digest), "chosen": str(built.image.digest)}


def test_any_changed_byte_of_its_content_is_found() -> None:
    text = encode_plan(PLAN).decode()
    for old, new in (("123456789012", "123456789013"), ("sha256:c", "sha256:d"), ("a,b", "a,c"), ("bill", "bull")):
        with pytest.raises(ReleaseError, match="it was changed after it was written"):
            decode_plan(text.replace(old, new).encode())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"3", b"{}", b'{"plan": [], "digest": 1}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_plan_is_refused(content: bytes) -> None:
    with pytest.raises(ReleaseError, match="the plan cannot be used"):
        decode_plan(content)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"format": 2}, "its format is 2, and this version reads 1"),
        ({"images": {"bill": 3}}, "images"),
        ({"stacks": {"a": {}}}, "missing"),
    ],
)
def test_a_plan_of_another_form_is_refused(fields: dict[str, Any], why: str) -> None:
    """Also with a digest that fits."""
    from pipeline.release.exact_plan import _digest

    content = {**json.loads(encode_plan(PLAN))["plan"], **fields}
    with pytest.raises(ReleaseError, match=why):
        decode_plan(json.dumps({"plan": content, "digest": str(_digest(content))}).encode())


def test_the_plan_of_another_place_is_refused() -> None:
    require_own(PLAN, "123456789012/eu-west-1", "shop/dev")
    for place, environment in (
        ("123456789013/eu-west-1", "shop/dev"),
        ("123456789012/eu-west-2", "shop/dev"),
        ("123456789012/eu-west-1", "shop/prod"),
        ("123456789012/eu-west-1", "dev"),
    ):
        with pytest.raises(ReleaseError, match="it is a plan for"):
            require_own(PLAN, place, environment)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (changed(images={"bill": "sha256:d"}), "the image of bill is another one"),
        (changed(images={}), "the function bill is gone"),
        (changed(images={**PLAN.images, "ship": "sha256:d"}), "the function ship is new"),
        (with_stack(before="sha256:x"), "the stack shop-pipeline-dev was changed after the plan was made"),
        (with_stack(template="sha256:x"), "the template of shop-pipeline-dev is another one"),
        (with_stack(parameters={"Zones": "a,c"}), "Zones of shop-pipeline-dev would be 'a,c', and was 'a,b'"),
        (with_stack(parameters={}), "Zones of shop-pipeline-dev would be None"),
        (with_stack(imported=["BillQueue"]), "would import BillQueue, and the plan has nothing"),
        (changed(stacks={}), "the stack shop-pipeline-dev is only in the plan"),
    ],
)
def test_each_difference_is_named(now: ExactPlan, why: str) -> None:
    require_same(PLAN, PLAN, ())
    with pytest.raises(ReleaseError) as caught:
        require_same(PLAN, now, ())
    assert why in caught.value.why


def test_a_stack_that_is_already_as_planned_may_have_changed() -> None:
    require_same(PLAN, with_stack(before="sha256:x"), {"shop-pipeline-dev"})


@pytest.mark.parametrize(
    "other",
    [
        replace(STATE, stack_id="arn:2"),
        replace(STATE, parameters={"A": "2"}),
        replace(STATE, tags={"team": "b"}),
        replace(STATE, template='{"Resources":{}}'),
        replace(STATE, template="", status=StackStatus.UPDATE_IN_PROGRESS),
        replace(STATE, status=StackStatus.DELETE_COMPLETE),
    ],
)
def test_a_stack_that_changed_before_its_turn_is_left_alone(other: StackState) -> None:
    require_before(PLAN, STATE)
    with pytest.raises(ReleaseError, match="another release changed it"):
        require_before(PLAN, other)


def test_what_a_stack_says_of_its_past_is_not_its_content() -> None:
    later = replace(STATE, status=StackStatus.UPDATE_ROLLBACK_COMPLETE, reason="a failed update", outputs={"B": "2"})
    assert content_of(later) == content_of(STATE)
    absent = StackState("shop-pipeline-dev", StackStatus.ABSENT)
    assert content_of(absent) == content_of(replace(STATE, status=StackStatus.DELETE_COMPLETE))


def test_only_a_plan_or_an_empty_file_is_replaced(tmp_path: Path) -> None:
    for name, content in (("missing", None), ("empty", b""), ("plan", encode_plan(PLAN))):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        require_replaceable(tmp_path / name)
    (tmp_path / "environments.toml").write_text('[project]\nname = "shop"\n')
    for path in (tmp_path / "environments.toml", Path("/dev/null")):
        with pytest.raises(ReleaseError, match="exists and is not a plan"):
            require_replaceable(path)


def test_a_name_that_no_file_can_have_is_an_explained_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="File name too long"):
        require_replaceable(tmp_path / ("9" * 5000))


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes")
    for path, why in ((tmp_path / "notes", "Expecting value"), (Path("/dev/null"), "it is not a regular file")):
        with pytest.raises(ReleaseError) as caught:
            read_plan(path)
        assert caught.value.why.startswith(f"{path}: {why}")


def test_a_forged_plan_does_not_steer_the_terminal() -> None:
    steering = "\u202e\x1b[31m"
    stack = {f"s{steering}": msgspec.structs.replace(STACK, imported=[steering], parameters={steering: steering})}
    forged = changed(place=steering, environment=steering, images={steering: "x"}, stacks=stack)
    for refuse in (lambda: require_own(forged, "here", "dev"), lambda: require_same(forged, PLAN, ())):
        with pytest.raises(ReleaseError) as caught:
            refuse()
        assert caught.value.why.isprintable()
    named = changed(stacks={"shop-pipeline-dev": stack[f"s{steering}"]})
    with pytest.raises(ReleaseError) as caught:
        require_same(named, PLAN, ())
    assert caught.value.why.isprintable()
