"""Images that ECR has archived: listed only when they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from pipeline.ledger.stored_images import read_archived
from pipeline.oci.values import Digest

OLD, OTHER, NEW = (Digest.of(text) for text in (b"old", b"other", b"new"))
ASKED = {"repositoryName": "fraud-dev", "filter": {"imageStatus": "ARCHIVED"}}


def detail(digest: Digest, status: str) -> dict[str, Any]:
    return {"imageDigest": str(digest), "imageStatus": status, "imagePushedAt": datetime(2026, 11, 23, tzinfo=UTC)}


@pytest.fixture
def ecr() -> Any:
    return boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


def test_archived_images_are_asked_for_by_their_status(ecr: Any) -> None:
    with Stubber(ecr) as stubber:
        details = [detail(OLD, "ARCHIVED"), detail(OTHER, "ARCHIVED")]
        stubber.add_response("describe_images", {"imageDetails": details}, ASKED)
        assert read_archived(ecr, "fraud-dev", [OLD, NEW]) == {OLD}
        stubber.assert_no_pending_responses()


def test_an_ecr_that_ignores_the_filter_archives_nothing(ecr: Any) -> None:
    with Stubber(ecr) as stubber:
        stubber.add_response("describe_images", {"imageDetails": [detail(OLD, "ACTIVE")]}, ASKED)
        assert read_archived(ecr, "fraud-dev", [OLD]) == frozenset()


def test_a_repository_that_is_gone_has_none(ecr: Any) -> None:
    with Stubber(ecr) as stubber:
        stubber.add_client_error("describe_images", "RepositoryNotFoundException")
        assert read_archived(ecr, "fraud-dev", [OLD]) == frozenset()
