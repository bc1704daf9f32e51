"""Why a recorded release cannot be promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.ledger.releases import Release, ReleaseContent
from pipeline.oci.values import Digest
from pipeline.promotion.recorded import Stored, reasons_against

APP = Digest.of(b"app")
HERE, THERE = "123456789012/eu-west-1", "999999999999/eu-west-1"
RELEASE = Release(
    7,
    ReleaseContent({"app": APP}, Digest.of(b"t")),
    datetime(2026, 11, 23, tzinfo=UTC),
    "me",
    mark="0a1b2c3d",
    place=HERE,
)
FINE = Stored("app-dev", "ACTIVE", frozenset({"image-1", "release-7-0a1b2c3d"}))


def test_a_release_whose_images_are_all_there_is_promoted() -> None:
    assert list(reasons_against(RELEASE, ["app"], {"app": FINE}, HERE)) == []


@pytest.mark.parametrize(
    ("functions", "stored", "place", "reason"),
    [
        (["app"], {}, HERE, f"the image of app, {APP}, is gone from its repository"),
        (["app"], {"app": replace(FINE, status="ARCHIVED")}, HERE, "is ARCHIVED in ECR; restore it with aws ecr"),
        (["app"], {"app": replace(FINE, status="ACTIVATING")}, HERE, "is ACTIVATING in ECR"),
        (["app"], {"app": replace(FINE, tags=frozenset())}, HERE, "has no tag release-7-0a1b2c3d"),
        # That of another entry, such as of an earlier ledger.
        (["app"], {"app": replace(FINE, tags=frozenset({"release-7-ffffffff"}))}, HERE, "the ledger's entry"),
        (["app", "new"], {"app": FINE}, HERE, "it has no new, which the project has"),
        ([], {"app": FINE}, HERE, "the project has no function app"),
        (["app"], {"app": FINE}, THERE, f"it was recorded in {HERE}, and this is {THERE}"),
    ],
)  # fmt: skip
def test_every_other_one_is_refused_by_name(
    functions: list[str], stored: Mapping[str, Stored], place: str, reason: str
) -> None:
    (found,) = reasons_against(RELEASE, functions, stored, place)
    assert reason in found


def test_all_reasons_are_given_at_once() -> None:
    assert len(list(reasons_against(RELEASE, ["app", "new"], {}, THERE))) == 3
