"""The ledger, rollback's facts, pruning and the check of running functions, on the embedded AWS."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.assembly.model import PushedImage
from pipeline.core.errors import FunctionError, ReleaseError
from pipeline.ledger.prune import plan_prune, prune_images, read_in_use
from pipeline.ledger.releases import (
    Release,
    ReleaseContent,
    delete_ledger,
    list_releases,
    parameter_name,
    read_release,
    record_release,
)
from pipeline.ledger.stored_images import read_images
from pipeline.oci.values import OCI_CONFIG, OCI_MANIFEST, Digest
from pipeline.release.verify import restore_function, running_digest, verify_function
from tests.functional.conftest import EmbeddedAws
from tests.functional.stack_templates import template, up, wanted
from tests.proxies.faults import FaultProxy, error

REGISTRY = "000000000000.dkr.ecr.us-east-1.amazonaws.com"


@dataclass
class Place:
    """An environment of its own with one repository."""

    aws: EmbeddedAws
    environment: str

    @property
    def repository(self) -> str:
        return f"fraud-{self.environment}"

    @property
    def uri(self) -> str:
        return f"{REGISTRY}/{self.repository}"

    def push(self, name: str, tag: str = "") -> Digest:
        config = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [],
                    "annotations": {"name": name}}  # fmt: skip
        text = json.dumps(manifest)
        more = {"imageTag": tag} if tag else {}
        ecr = self.aws.client("ecr")
        with contextlib.suppress(ecr.exceptions.LayerAlreadyExistsException):
            upload = ecr.initiate_layer_upload(repositoryName=self.repository)["uploadId"]
            ecr.upload_layer_part(
                repositoryName=self.repository, uploadId=upload, partFirstByte=0, partLastByte=1, layerPartBlob=b"{}"
            )
            ecr.complete_layer_upload(repositoryName=self.repository, uploadId=upload, layerDigests=[config["digest"]])
        with contextlib.suppress(ecr.exceptions.ImageAlreadyExistsException):
            ecr.put_image(
                repositoryName=self.repository, imageManifest=text, imageManifestMediaType=OCI_MANIFEST, **more
            )
        return Digest.of(text.encode())

    def record(self, name: str, *, ssm: Any = None, ecr: Any = None, **parameters: str) -> tuple[Release, bool]:
        content = ReleaseContent({"fraud": self.push(name)}, Digest.of(b"template"), parameters)
        return record_release(
            ssm or self.aws.client("ssm"), ecr or self.aws.client("ecr"), self.environment, content,
            {"fraud": self.repository}, by="somebody@host", revision="abc",
        )  # fmt: skip

    def tags(self, digest: Digest) -> tuple[str, ...]:
        (found,) = (each for each in read_images(self.aws.client("ecr"), self.repository) if each.digest == digest)
        return found.tags


@pytest.fixture
def place(embedded_aws: EmbeddedAws) -> Iterator[Place]:
    made = Place(embedded_aws, f"e{uuid.uuid4().hex[:8]}")
    embedded_aws.client("ecr").create_repository(repositoryName=made.repository, imageTagMutability="IMMUTABLE")
    yield made
    delete_ledger(embedded_aws.client("ssm"), made.environment)


def test_releases_are_numbered_listed_and_read(place: Place) -> None:
    ssm = place.aws.client("ssm")
    assert list_releases(ssm, place.environment) == ()
    first, new = place.record("a")
    second, _ = place.record("b", Zones="3")
    assert new
    assert [release.number for release in list_releases(ssm, place.environment)] == [1, 2]
    assert read_release(ssm, place.environment, 1) == first
    assert read_release(ssm, place.environment, 2) == second
    assert (second.by, second.revision, second.content.parameters) == ("somebody@host", "abc", {"Zones": "3"})
    assert datetime.now(UTC) - second.at < timedelta(minutes=1)


def test_a_release_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(ReleaseError, match="no such number"):
        read_release(place.aws.client("ssm"), place.environment, 7)


def test_the_images_of_a_release_are_tagged(place: Place) -> None:
    release, _ = place.record("a")
    assert place.tags(release.images["fraud"]) == (release.tag,)


def test_an_image_keeps_only_the_tags_of_releases_that_the_ledger_has(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ledger.releases.KEPT", 3)
    for tag in ("image-1", "release-900-deadbeef", "release-of-somebody"):
        place.push("a", tag)
    recorded = [place.record("a", Zones=str(number))[0] for number in range(6)]
    assert set(place.tags(recorded[0].images["fraud"])) == {
        "image-1", "release-of-somebody", *(each.tag for each in recorded[-3:])
    }  # fmt: skip


def test_a_tag_that_belongs_to_another_image_is_not_passed_over(place: Place) -> None:
    with FaultProxy(place.aws.endpoint) as proxy:
        ecr = place.aws.client("ecr", endpoint_url=proxy.endpoint)

        def tag_another() -> None:
            (release,) = list_releases(place.aws.client("ssm"), place.environment)
            place.push("theirs", tag=release.tag)

        proxy.before("PutImage", tag_another)
        with pytest.raises(ReleaseError, match="belongs to another image"):
            place.record("a", ecr=ecr)


def test_nothing_new_is_no_release_and_one_call(place: Place) -> None:
    with FaultProxy(place.aws.endpoint) as proxy:
        ssm = place.aws.client("ssm", endpoint_url=proxy.endpoint)
        first, _ = place.record("a", ssm=ssm)
        proxy.clear()
        again, new = place.record("a", ssm=ssm)
        assert (again, new) == (first, False)
        assert proxy.calls == ["GetParameters"]


def test_going_back_to_what_ran_before_is_a_release_of_its_own(place: Place) -> None:
    place.record("a")
    place.record("b")
    third, new = place.record("a")
    assert (third.number, new) == (3, True)
    assert len(place.tags(third.images["fraud"])) == 2


@pytest.mark.parametrize("action", ["LabelParameterVersion", "PutImage"])
def test_a_record_that_was_not_finished_is_finished_by_the_next_run(place: Place, action: str) -> None:
    with FaultProxy(place.aws.endpoint) as proxy:
        proxy.add(error(action, "AccessDeniedException", "not now"))
        ssm, ecr = (place.aws.client(service, endpoint_url=proxy.endpoint) for service in ("ssm", "ecr"))
        with pytest.raises(ClientError, match="not now"):
            place.record("a", ssm=ssm, ecr=ecr)
    release, new = place.record("a")
    assert (release.number, new) == (1, False)
    assert place.tags(release.images["fraud"]) == (release.tag,)


def test_two_writers_at_once_get_two_numbers(place: Place) -> None:
    threads = [threading.Thread(target=place.record, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    releases = list_releases(place.aws.client("ssm"), place.environment)
    assert [release.number for release in releases] == [1, 2, 3, 4]
    assert len({release.images["fraud"] for release in releases}) == 4


def test_another_writer_at_the_same_moment_is_waited_for(place: Place) -> None:
    with FaultProxy(place.aws.endpoint) as proxy:
        struck = proxy.add(error("PutParameter", "TooManyUpdates", "too many updates", times=2))
        release, _ = place.record("a", ssm=place.aws.client("ssm", endpoint_url=proxy.endpoint))
    assert (release.number, struck.hits) == (1, 2)


def test_a_new_ledger_does_not_meet_the_tags_of_an_old_one(place: Place) -> None:
    first, _ = place.record("a")
    assert delete_ledger(place.aws.client("ssm"), place.environment)
    assert not delete_ledger(place.aws.client("ssm"), place.environment)
    again, _ = place.record("b")
    assert again.number == first.number == 1
    assert again.tag != first.tag


def test_a_record_whose_image_is_gone_says_so(place: Place) -> None:
    content = ReleaseContent({"fraud": Digest.of(b"never pushed")}, Digest.of(b"t"))
    with pytest.raises(ReleaseError, match="is gone from"):
        record_release(
            place.aws.client("ssm"), place.aws.client("ecr"), place.environment, content,
            {"fraud": place.repository}, by="x",
        )  # fmt: skip


def test_a_foreign_parameter_is_not_taken_for_a_release(place: Place) -> None:
    place.aws.client("ssm").put_parameter(Name=parameter_name(place.environment), Value="x", Type="String")
    with pytest.raises(ReleaseError, match="was not read"):
        list_releases(place.aws.client("ssm"), place.environment)


def make_function(place: Place, digest: Digest) -> str:
    """A function that was created by hand from these images."""
    iam = place.aws.client("iam")
    allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    role = iam.create_role(
        RoleName=f"{place.repository}-{uuid.uuid4().hex[:4]}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )["Role"]["Arn"]  # fmt: skip
    place.aws.client("lambda").create_function(
        FunctionName=place.repository, PackageType="Image", Role=role, Code={"ImageUri": f"{place.uri}@{digest}"}
    )
    return place.repository


def test_pruning_deletes_what_nothing_needs(place: Place) -> None:
    cfn, ecr, lambda_client = (place.aws.client(name) for name in ("cloudformation", "ecr", "lambda"))
    versioned, running, in_stack = place.push("versioned"), place.push("running"), place.push("in stack")
    name = make_function(place, versioned)
    lambda_client.publish_version(FunctionName=name)
    lambda_client.update_function_code(FunctionName=name, ImageUri=f"{place.uri}@{running}")
    body = template()
    body["Parameters"]["Image"] = {"Type": "String"}
    up(cfn, wanted(f"stack-{place.environment}", body=body, parameters={"Image": f"{place.uri}@{in_stack}"}))
    old, _ = place.record("old")
    last, _ = place.record("last")
    leftover = place.push("leftover")

    in_use = read_in_use(place.aws.client, [f"stack-{place.environment}"], [place.repository])
    assert set(in_use) == {versioned, running, in_stack}
    assert in_use[versioned] == f"function {name}:1"
    images = read_images(ecr, place.repository)
    releases = list_releases(place.aws.client("ssm"), place.environment)
    later = datetime.now(UTC) + timedelta(hours=2)
    plan = plan_prune(images, in_use, releases, 1, now=later)
    assert {image.digest for image in plan.delete} == {old.images["fraud"], leftover}
    pruned = prune_images(ecr, plan)
    assert len(pruned.deleted) == 2
    assert pruned.failures == ()
    left = {image.digest for image in read_images(ecr, place.repository)}
    assert left == {versioned, running, in_stack, last.images["fraud"]}
    assert len(prune_images(ecr, plan).deleted) == 2, "gone already is as good"


def test_more_than_a_hundred_images_go_in_batches(place: Place) -> None:
    for number in range(105):
        place.push(f"image {number}")
    with FaultProxy(place.aws.endpoint) as proxy:
        ecr = place.aws.client("ecr", endpoint_url=proxy.endpoint)
        later = datetime.now(UTC) + timedelta(hours=2)
        plan = plan_prune(read_images(ecr, place.repository), {}, [], 1, now=later)
        assert len(prune_images(ecr, plan).deleted) == 105
        assert proxy.calls.count("BatchDeleteImage") == 2
    assert read_images(ecr_direct(place), place.repository) == ()


def ecr_direct(place: Place) -> Any:
    return place.aws.client("ecr")


def test_an_image_that_ecr_does_not_let_go_is_told(place: Place) -> None:
    place.push("held")
    ecr = HoldingEcr(ecr_direct(place))
    plan = plan_prune(read_images(ecr, place.repository), {}, [], 1, now=datetime.now(UTC) + timedelta(hours=2))
    pruned = prune_images(ecr, plan)
    assert pruned.deleted == ()
    assert "ImageReferencedByManifestList" in pruned.failures[0][1]


class HoldingEcr:
    """ECR refuses to delete what an index lists; the emulator deletes anything."""

    def __init__(self, ecr: Any) -> None:
        self._ecr = ecr

    def __getattr__(self, call: str) -> Any:
        return getattr(self._ecr, call)

    def batch_delete_image(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> Any:
        why = {"failureCode": "ImageReferencedByManifestList", "failureReason": "listed"}
        return {"imageIds": [], "failures": [{"imageId": each, **why} for each in imageIds]}


def test_a_repository_that_is_not_there_has_no_images(place: Place) -> None:
    assert read_images(place.aws.client("ecr"), "no-such-repository") == ()


def test_a_function_that_runs_what_was_pushed_is_verified(place: Place) -> None:
    digest = place.push("a")
    name = make_function(place, digest)
    verify_function(place.aws.client("lambda"), name, PushedImage("fraud", place.uri, digest), timeout=10)
    assert running_digest(place.aws.client("lambda"), name) == digest


def test_a_function_that_somebody_switched_by_hand_is_noticed_and_put_back(place: Place) -> None:
    lambda_client = place.aws.client("lambda")
    pushed, theirs = place.push("ours"), place.push("theirs")
    name = make_function(place, theirs)
    image = PushedImage("fraud", place.uri, pushed)
    with pytest.raises(FunctionError, match="does not run the pushed image"):
        verify_function(lambda_client, name, image, timeout=10)
    assert restore_function(lambda_client, name, image, timeout=10)
    verify_function(lambda_client, name, image, timeout=10)
    assert not restore_function(lambda_client, name, image, timeout=10)


def test_a_function_that_is_not_there_is_named(place: Place) -> None:
    image = PushedImage("fraud", place.uri, Digest.of(b"x"))
    with pytest.raises(FunctionError, match="there is no such function"):
        verify_function(place.aws.client("lambda"), "nobody", image)
