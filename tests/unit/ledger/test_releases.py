"""Records of releases as text, and the way back to one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ReleaseError
from pipeline.ledger.releases import (
    STANDARD_MAX,
    VALUE_MAX,
    Release,
    ReleaseContent,
    RollbackPlan,
    RollbackRefused,
    _pack,
    _parse,
    plan_rollback,
    template_digest,
)
from pipeline.oci.values import Digest

AT = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,10}){0,2}", fullmatch=True)
DIGESTS = st.binary(min_size=1, max_size=8).map(Digest.of)


def content(**images: bytes) -> ReleaseContent:
    return ReleaseContent({name.replace("_", "-"): Digest.of(data) for name, data in images.items()}, Digest.of(b"t"))


@given(
    st.dictionaries(NAMES, DIGESTS, max_size=12),
    st.dictionaries(NAMES, st.text(max_size=40), max_size=4),
    st.text(max_size=40),
)
def test_a_record_comes_back_as_it_went(images: dict[str, Digest], parameters: dict[str, str], by: str) -> None:
    written = ReleaseContent(images, Digest.of(b"template"), parameters)
    text = _pack(written, at=AT, by=by, revision="abc")
    release = _parse(7, text)
    assert (release.number, release.content, release.at, release.by) == (7, written, AT, by)
    assert "{{" not in text, "SSM reserves double braces"
    assert "}}" not in text
    assert len(text.encode()) <= STANDARD_MAX


def test_as_many_functions_as_a_template_takes_have_a_record() -> None:
    """67, with names that are as long as Lambda takes and that hardly compress."""
    names = [Digest.of(f"name {number}".encode()).hex[:59] for number in range(67)]
    images = {name: Digest.of(name.encode()) for name in names}
    text = _pack(ReleaseContent(images, Digest.of(b"t")), at=AT, by="x" * 100, revision="a" * 40)
    assert STANDARD_MAX < len(text) <= VALUE_MAX
    assert _parse(1, text).images == images


def test_many_functions_are_packed_and_too_many_are_refused() -> None:
    many = {f"function-{number}": Digest.of(bytes([number])) for number in range(60)}
    assert _parse(1, _pack(ReleaseContent(many, Digest.of(b"t")), at=AT, by="x", revision="")).images == many
    more = {f"function-{number}": Digest.of(str(number).encode()) for number in range(200)}
    with pytest.raises(ReleaseError, match="8,192"):
        _pack(ReleaseContent(more, Digest.of(b"t")), at=AT, by="x", revision="")


@pytest.mark.parametrize("value", ["", "no JSON", "{}", '{"images": 1}', "zlib:!!", "zlib:AAAA"])
def test_a_record_of_somebody_else_is_not_guessed_at(value: str) -> None:
    with pytest.raises(ReleaseError, match="release 3 was not read"):
        _parse(3, value)


def test_the_layout_of_a_template_does_not_count() -> None:
    assert template_digest('{"b": 1, "a": [1, 2]}') == template_digest('{"a":[1,2],\n"b":1}')
    assert template_digest('{"a": 1}') != template_digest('{"a": 2}')


REPOSITORIES = {"fraud": "host/fraud-dev", "compliance": "host/compliance-dev"}


def release(**images: bytes) -> Release:
    return Release(3, content(**images), AT, "somebody")


def test_the_way_back_is_one_set_of_images() -> None:
    stored = {"fraud": {Digest.of(b"f")}, "compliance": {Digest.of(b"c")}}
    plan = plan_rollback(release(fraud=b"f", compliance=b"c"), ["fraud", "compliance"], REPOSITORIES, stored)
    assert isinstance(plan, RollbackPlan)
    assert {image.uri for image in plan.images} == {
        f"host/fraud-dev@{Digest.of(b'f')}",
        f"host/compliance-dev@{Digest.of(b'c')}",
    }


def test_a_function_that_came_later_keeps_what_it_runs() -> None:
    stored = {"fraud": {Digest.of(b"f")}}
    plan = plan_rollback(release(fraud=b"f"), ["fraud", "compliance"], REPOSITORIES, stored)
    assert isinstance(plan, RollbackPlan)
    assert plan.unaffected == ("compliance",)


def test_an_archived_image_is_not_taken_for_one_that_is_gone() -> None:
    digest = Digest.of(b"f")
    repositories = {"fraud": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/fraud-dev"}
    plan = plan_rollback(release(fraud=b"f"), ["fraud"], repositories, {"fraud": set()}, archived={"fraud": {digest}})
    assert isinstance(plan, RollbackRefused)
    (reason,) = plan.reasons
    assert reason.startswith(f"the image of fraud, {digest}, is archived")
    assert f"--repository-name fraud-dev --image-id imageDigest={digest} --target-storage-class STANDARD" in reason


def test_every_reason_against_a_way_back_is_listed() -> None:
    plan = plan_rollback(release(fraud=b"f", gone=b"g"), ["fraud"], REPOSITORIES, {"fraud": set()})
    assert isinstance(plan, RollbackRefused)
    assert plan.reasons == (
        f"the image of fraud, {Digest.of(b'f')}, is gone from its repository",
        "gone is no longer part of the pipeline",
    )


def test_a_release_of_another_aws_is_not_gone_back_to() -> None:
    value = _pack(content(fraud=b"f"), at=AT, by="x", revision="", place="local/1")
    stored = {"fraud": {Digest.of(b"f")}}
    to = _parse(3, value)
    assert isinstance(plan_rollback(to, ["fraud"], REPOSITORIES, stored, "local/1"), RollbackPlan)
    refused = plan_rollback(to, ["fraud"], REPOSITORIES, stored, "local/2")
    assert isinstance(refused, RollbackRefused)
    assert refused.reasons == ("it was recorded in local/1, and this is local/2",)
