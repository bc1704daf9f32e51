"""What may be deleted: against tables, and against random histories of a registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ReleaseError
from pipeline.ledger.prune import GRACE, PrunePlan, plan_prune
from pipeline.ledger.releases import Release, ReleaseContent
from pipeline.ledger.stored_images import StoredImage
from pipeline.oci.values import Digest
from tests.conftest import examples

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def image(
    name: str, *tags: str, at: datetime = LONG_AGO, subject: str = "", children: tuple[str, ...] = ()
) -> StoredImage:
    return StoredImage(
        "fraud-dev", digest(name), tags, 100, at, digest(subject) if subject else None, tuple(map(digest, children))
    )


def release(number: int, *names: str) -> Release:
    images = {f"function-{index}": digest(name) for index, name in enumerate(names)}
    return Release(number, ReleaseContent(images, digest("template")), NOW, "somebody")


def deleted(plan: PrunePlan, *names: str) -> list[str]:
    known = {digest(name): name for name in names}
    return [known[each.digest] for each in plan.delete]


def test_what_nothing_needs_goes() -> None:
    images = [image("old", "image-old", "release-1-abc"), image("leftover"), image("kept", "release-2-def")]
    plan = plan_prune(images, {}, [release(1, "old"), release(2, "kept")], 1, now=NOW)
    assert deleted(plan, "old", "leftover") == ["old", "leftover"]
    assert [(each.digest, reason) for each, reason in plan.kept] == [(digest("kept"), "release 2")]
    assert plan.size == 200


def test_what_runs_stays_whoever_forgot_it() -> None:
    plan = plan_prune([image("old")], {digest("old"): "function fraud-dev:3"}, [], 1, now=NOW)
    assert plan.delete == ()
    assert plan.kept[0][1] == "function fraud-dev:3"


def test_what_was_just_pushed_may_belong_to_a_release_under_way() -> None:
    images = [image("young", at=NOW - GRACE + timedelta(seconds=1)), image("older", at=NOW - GRACE)]
    assert deleted(plan_prune(images, {}, [], 1, now=NOW), "older", "young") == ["older"]


def test_what_somebody_tagged_stays() -> None:
    plan = plan_prune([image("golden", "image-x", "golden")], {}, [], 1, now=NOW)
    assert plan.kept[0][1] == "tagged golden by another tool"


def test_a_placeholder_stays_while_nothing_stands_on_it() -> None:
    plan = plan_prune([image("placeholder", "placeholder-abc")], {}, [], 1, now=NOW)
    assert plan.kept[0][1] == "a placeholder"


def test_an_sbom_goes_with_its_image_and_stays_with_it() -> None:
    images = [image("kept"), image("sbom", subject="kept"), image("gone"), image("its sbom", subject="gone")]
    plan = plan_prune(images, {digest("kept"): "a function"}, [], 1, now=NOW)
    assert deleted(plan, "gone", "its sbom") == ["its sbom", "gone"], "referrers are deleted before their image"


def test_a_young_sbom_is_told_by_its_image_and_a_young_image_of_nobody_by_its_age() -> None:
    images = [image("runs", at=NOW), image("sbom", at=NOW, subject="runs"), image("new", at=NOW)]
    images.append(image("new sbom", at=NOW, subject="new"))
    plan = plan_prune(images, {digest("runs"): "a function"}, [], 1, now=NOW)
    assert [reason for _, reason in plan.kept] == [
        "a function", f"refers to {digest('runs').short}", "pushed just now", "pushed just now"
    ]  # fmt: skip


def test_a_signature_is_known_by_its_tag() -> None:
    tag = f"sha256-{digest('kept').hex}.sig"
    images = [image("kept"), image("signature", tag, subject="kept")]
    assert plan_prune(images, {digest("kept"): "a function"}, [], 1, now=NOW).delete == ()
    assert deleted(plan_prune(images, {}, [], 1, now=NOW), "kept", "signature") == ["signature", "kept"]


def test_what_a_kept_index_lists_stays_and_a_deleted_index_goes_first() -> None:
    images = [
        image("child"),
        image("index", "v1", children=("child",)),
        image("orphan"),
        image("other", children=("orphan",)),
    ]
    assert deleted(plan_prune(images, {}, [], 1, now=NOW), "other", "orphan") == ["other", "orphan"]


def test_nothing_is_pruned_without_a_release_to_keep() -> None:
    with pytest.raises(ReleaseError, match="at least one release"):
        plan_prune([], {}, [], 0, now=NOW)


NAMES = [f"image {number}" for number in range(12)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[StoredImage], dict[Digest, str], list[Release], int]:
    """A registry as pushes, releases, rollbacks, hand-made tags and killed runs leave it."""
    images = []
    for index, name in enumerate(NAMES):
        if not draw(st.booleans()):
            continue
        tags = draw(st.lists(st.sampled_from(["image-a", "release-1-x", "golden"]), unique=True, max_size=2))
        at = draw(st.sampled_from([LONG_AGO, NOW - timedelta(minutes=5)]))
        subject = draw(st.sampled_from(["", "", *NAMES[:index]]))
        children = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))) if index % 4 == 0 else ()
        images.append(image(name, *tags, at=at, subject=subject, children=children))
    in_use = {digest(name): "in use" for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))}
    made = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), max_size=6))
    releases = [release(number, *names) for number, names in enumerate(made, start=1)]
    return images, in_use, releases, draw(st.integers(1, 4))


@settings(max_examples=examples(3))
@given(histories())
def test_no_history_makes_it_delete_what_is_needed(
    history: tuple[list[StoredImage], dict[Digest, str], list[Release], int],
) -> None:
    images, in_use, releases, keep = history
    plan = plan_prune(images, in_use, releases, keep, now=NOW)
    gone = {each.digest for each in plan.delete}
    left = {each.digest: each for each, _ in plan.kept}

    assert gone | set(left) == {each.digest for each in images}
    assert not gone & set(left)
    assert not gone & set(in_use), "a function version, a placeholder or a stack parameter"
    assert not gone & {each for release in releases[-keep:] for each in release.images.values()}, "a kept release"
    assert all(NOW - each.pushed_at >= GRACE for each in plan.delete)
    assert not any("golden" in each.tags for each in plan.delete)
    for each in left.values():
        assert not gone & set(each.children), "what an index lists"
        assert each.subject not in gone, "ECR deletes referrers with their image"
    assert all(each.subject not in left for each in plan.delete), "an SBOM of what stays"


@settings(max_examples=examples(2))
@given(histories())
def test_a_second_run_has_nothing_left_to_do(
    history: tuple[list[StoredImage], Mapping[Digest, str], list[Release], int],
) -> None:
    images, in_use, releases, keep = history
    left = [each for each, _ in plan_prune(images, in_use, releases, keep, now=NOW).kept]
    assert plan_prune(left, in_use, releases, keep, now=NOW).delete == ()
