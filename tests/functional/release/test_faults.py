"""Releases while AWS fails: each ends converged, or with an error that names the cause and the next step."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.core.errors import CredentialsError, FunctionError, LocalError, PipelineError, RegistryError
from pipeline.core.events import Note
from pipeline.oci.values import Digest
from pipeline.release.deployment import Deployment
from pipeline.release.release import release
from pipeline.stacks import StackFailed, StackOutputs
from pipeline.target import explained
from tests.functional.release_lab import Lab, different
from tests.proxies.faults import Fault, FaultProxy, error, expired, lost_answer, throttled, unavailable


@pytest.fixture
def proxy(lab: Lab) -> Iterator[FaultProxy]:
    with FaultProxy(lab.aws.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def standing(lab: Lab) -> Iterator[str]:
    """An environment that stands."""
    with lab.environment() as name:
        lab.release(name)
        yield name


def runs(lab: Lab, environment: str) -> dict[str, Any]:
    return dict(lab.snapshot(environment)["running"])


@pytest.mark.parametrize("kind", ["refused", "unheard"])
def test_every_call_may_fail_once(
    lab: Lab, standing: str, proxy: FaultProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each operation that a release with a change makes is refused, or not heard of again, the first time."""
    # The waits before another attempt are the libraries' own, and not what is tried here.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    monkeypatch.setattr("pipeline.oci.registry.retries.Retries.delay", lambda *_: 0.01)
    with lab.changed(f"\n# {kind} first\n"):
        lab.release(standing, proxy.endpoint)
    # An unanswered sample takes the release back, which has a test of its own.
    calls = set(proxy.calls) - {"StartSyncExecution"}
    assert {"CreateChangeSet", "ExecuteChangeSet", "PutParameter", "GetFunction", "PutImage"} <= calls
    proxy.clear()
    proxy.add(*(passing_fault(kind, call) for call in calls))
    with lab.changed(f"\n# {kind} second\n"):
        released, _ = lab.release(standing, proxy.endpoint)
        found = lab.snapshot(standing)
    assert found["running"]["fraud-detection"] == [str(released.functions[1].digest)] * 2
    assert found["release"]["fraud-detection"] == str(released.functions[1].digest)
    assert found["last release tagged"]
    assert (found["pipeline"]["at rest"], found["pipeline"]["change sets"]) == (True, [])


def passing_fault(kind: str, call: str) -> Fault:
    """Registries are throttled by a status, AWS's calls by a code."""
    if kind == "unheard":
        return lost_answer(call)
    return unavailable(call) if " " in call else throttled(call)


# How far a run is when its token expires.
@pytest.mark.parametrize("call", ["DescribeStacks", "CreateChangeSet", "GetFunction", "StartSyncExecution",
                                  "PutParameter"])  # fmt: skip
def test_a_token_that_expires_leaves_what_ran_or_what_is_new(
    lab: Lab, standing: str, proxy: FaultProxy, call: str
) -> None:
    before = runs(lab, standing)
    with lab.changed(f"\n# expires at {call}\n"):
        # From this call on, everything is refused.
        proxy.before(call, lambda: proxy.add(expired()))
        with pytest.raises(CredentialsError) as raised, explained("aws", f"{standing} was not released"):
            lab.release(standing, proxy.endpoint)
        assert "expired" in raised.value.why.lower()
        after = runs(lab, standing)
        if call in ("DescribeStacks", "CreateChangeSet"):
            assert after == before
        proxy.clear()
        released, _ = lab.release(standing, proxy.endpoint)
        # What was never tried is tried now; the ledger knows what was.
        assert (released.sample is None) == (call == "PutParameter")
    found = lab.snapshot(standing)
    assert found["running"]["fraud-detection"] == [str(released.functions[1].digest)] * 2
    assert found["pipeline"]["change sets"] == []


@pytest.mark.parametrize("call", ["CreateChangeSet", "GetFunction", "GetParameters"])
def test_a_permission_that_is_missing_is_named(lab: Lab, standing: str, proxy: FaultProxy, call: str) -> None:
    said = f"User: arn:aws:iam::123456789012:user/dev is not authorized to perform: {call}"
    proxy.add(error(call, "AccessDeniedException", said, status=403, times=None))
    with (
        lab.changed(f"\n# denied {call}\n"),
        pytest.raises(CredentialsError) as raised,
        explained("aws", f"{standing} was not released"),
    ):
        lab.release(standing, proxy.endpoint)
    assert said in raised.value.why
    assert raised.value.next_step.text


def test_a_sample_whose_answer_is_lost_takes_the_release_back(lab: Lab, standing: str, proxy: FaultProxy) -> None:
    lab.release(standing)
    before = runs(lab, standing)
    proxy.add(error("StartSyncExecution", "InternalServerError", "internal", status=500, times=None))
    with lab.changed("\n# lost sample\n"), pytest.raises(PipelineError, match="was taken back"):
        lab.release(standing, proxy.endpoint)
    assert runs(lab, standing) == before


def test_an_image_that_is_gone_is_pushed_back_by_its_digest(
    lab: Lab, standing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation cannot go back to an image that is gone. The emulator would, so the refusal is made here."""
    deployment = lab.deployment(standing)
    released, _ = lab.release(standing)
    image = released.functions[1]
    ecr, repository = lab.aws.client("ecr"), deployment.names.repository(image.function)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": str(image.digest)}])
    import pipeline.release.deployment as module
    from pipeline.stacks import ResourceFailure, StackStatus

    really, calls = module.apply_stack, []

    def apply_stack(*arguments: Any, **more: Any) -> StackOutputs:
        calls.append(1)
        if len(calls) > 1:
            return really(*arguments, **more)
        reason = f'Resource handler returned message: "Source image {image.uri} does not exist. Provide a valid source'
        raise StackFailed(
            "the stack was not rolled back", reason, "…", status=StackStatus.UPDATE_ROLLBACK_FAILED,
            failures=(ResourceFailure("FraudDetectionFunction", "AWS::Lambda::Function", "UPDATE_FAILED", reason),),
        )  # fmt: skip

    monkeypatch.setattr(module, "apply_stack", apply_stack)
    events: list[Any] = []
    outputs = module.switch_images(deployment, {}, events.append)
    assert not outputs.changed
    assert len(calls) == 2
    assert any(isinstance(event, Note) and "pushing it again" in event.text for event in events)
    found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": str(image.digest)}])
    assert found["imageDetails"][0]["imageTags"] == [f"image-{image.digest.hex[:16]}"]


def test_an_image_that_nobody_has_is_told_with_the_way_to_make_it_again(lab: Lab, standing: str) -> None:
    from pipeline.oci.values import ImageReference
    from pipeline.release.restore import restore_image

    deployment = lab.deployment(standing)
    host = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
    gone = ImageReference(host, deployment.names.repository("fraud-detection"), digest=Digest.of(b"never built"))
    with pytest.raises(RegistryError, match=r"cache .* does not have it"):
        restore_image(deployment.target.registry(host), gone, deployment.build)


def test_a_placeholder_that_is_gone_is_made_anew(lab: Lab, standing: str) -> None:
    from cfn.placeholder import placeholder_digest
    from pipeline.oci.values import ImageReference
    from pipeline.release.restore import restore_image

    deployment = lab.deployment(standing)
    host, repository = "000000000000.dkr.ecr.us-east-1.amazonaws.com", deployment.names.repository("fraud-detection")
    digest = placeholder_digest(deployment.settings.architecture)
    ecr = lab.aws.client("ecr")
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    pushed = restore_image(
        deployment.target.registry(host),
        ImageReference(host, repository, digest=Digest.parse(digest)),
        deployment.build,
    )
    assert str(pushed.digest) == digest
    (image,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])["imageDetails"]
    assert image["imageTags"] == [f"placeholder-{digest[7:19]}"]


@pytest.mark.parametrize("what", ["code", "alias"])
def test_a_function_that_was_switched_by_hand_is_put_back(lab: Lab, standing: str, what: str) -> None:
    released, _ = lab.release(standing)
    before = lab.snapshot(standing)
    client, name = lab.aws.client("lambda"), f"fraud-detection-{standing}"
    elsewhere = released.functions[1].repository_uri + "@" + placeholder_of(lab.deployment(standing))
    client.update_function_code(FunctionName=name, ImageUri=elsewhere)
    if what == "alias":
        version = client.publish_version(FunctionName=name)["Version"]
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    assert runs(lab, standing) != before["running"]
    again, events = lab.release(standing)
    assert different(lab.snapshot(standing), before) == []
    assert again.changed
    assert again.sample is not None
    assert any(isinstance(event, Note) and "changed outside of its stack" in event.text for event in events)


def test_an_alias_that_shares_its_traffic_gets_all_of_it_back(lab: Lab, standing: str) -> None:
    """As a progressive release leaves it that was interrupted: the version is right, and half of the traffic is not."""
    lab.release(standing)
    client, name = lab.aws.client("lambda"), f"fraud-detection-{standing}"
    alias = client.get_alias(FunctionName=name, Name="live")
    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    other = next(
        (each["Version"] for each in versions if each["Version"] not in ("$LATEST", alias["FunctionVersion"])), "1"
    )
    client.update_alias(
        FunctionName=name, Name="live", FunctionVersion=alias["FunctionVersion"],
        RoutingConfig={"AdditionalVersionWeights": {other: 0.5}},
    )  # fmt: skip
    again, events = lab.release(standing)
    assert not client.get_alias(FunctionName=name, Name="live").get("RoutingConfig", {}).get("AdditionalVersionWeights")
    assert again.changed
    assert any(isinstance(event, Note) and "changed outside of its stack" in event.text for event in events)
    assert not lab.release(standing)[0].changed


def placeholder_of(deployment: Deployment) -> str:
    from cfn.placeholder import placeholder_digest

    return placeholder_digest(deployment.settings.architecture)


def test_a_function_that_was_deleted_by_hand_is_named(lab: Lab) -> None:
    with lab.environment() as environment:
        lab.release(environment)
        lab.aws.client("lambda").delete_function(FunctionName=f"fraud-detection-{environment}")
        with pytest.raises(FunctionError, match=f"fraud-detection-{environment}") as raised:
            lab.release(environment)
        assert "down" in str(raised.value.next_step)


def test_a_failing_custom_resource_is_named_and_the_next_run_goes_on(lab: Lab) -> None:
    """A policy that takes a permission from the placeholder's function while the registry stack is made."""
    with lab.environment() as environment, FaultProxy(lab.aws.endpoint) as proxy:
        iam = lab.aws.client("iam")

        def deny() -> None:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ecr:PutImage",
                                                                "Resource": "*"}]}  # fmt: skip
            until = time.monotonic() + 10
            while time.monotonic() < until:
                for role in iam.list_roles()["Roles"]:
                    if environment in role["RoleName"] and "laceholder" in role["RoleName"]:
                        iam.put_role_policy(
                            RoleName=role["RoleName"], PolicyName="no", PolicyDocument=json.dumps(document)
                        )
                        return
                time.sleep(0.01)

        proxy.before("DescribeStackEvents", deny)
        with pytest.raises(StackFailed) as raised:
            lab.release(environment, proxy.endpoint)
        assert "Custom::PlaceholderImage" in raised.value.why
        assert "PutImage" in raised.value.why
        released, _ = lab.release(environment)
        assert released.sample is not None


def test_a_failed_update_leaves_what_ran_and_is_told_with_its_cause(lab: Lab, standing: str) -> None:
    """The table's name is another stack's, so the update cannot make what the changed template wants."""
    before = runs(lab, standing)
    deployment = lab.deployment(standing)
    name = f"taken-{standing}"
    lab.aws.client("ssm").put_parameter(Name=name, Type="String", Value="theirs")
    broken = BrokenTemplates(deployment, name)
    with lab.changed("\n# with a broken template\n"), pytest.raises(StackFailed) as raised:
        release(broken, lambda _event: None, by="a test")  # type: ignore[arg-type]
    assert "Taken (AWS::SSM::Parameter)" in raised.value.why
    assert raised.value.next_step.text.startswith("The previous version is still running.")
    assert runs(lab, standing) == before
    lab.release(standing)


class BrokenTemplates:
    """A deployment whose pipeline template wants one resource more, under a name that is taken."""

    def __init__(self, deployment: Deployment, taken: str) -> None:
        self._deployment, self._taken = deployment, taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deployment, name)

    @property
    def templates(self) -> Any:
        import dataclasses

        templates = self._deployment.templates
        body = json.loads(templates.pipeline)
        properties = {"Name": self._taken, "Type": "String", "Value": "ours"}
        body["Resources"]["Taken"] = {"Type": "AWS::SSM::Parameter", "Properties": properties}
        return dataclasses.replace(templates, pipeline=json.dumps(body))


def test_an_answer_that_does_not_come_is_an_error_in_time(lab: Lab, standing: str) -> None:
    """Commands on the local target fail at once when its emulator is gone."""
    with FaultProxy(lab.aws.endpoint) as proxy:
        endpoint = proxy.endpoint
    started = time.monotonic()
    with pytest.raises(LocalError, match="does not answer"), explained("local", f"{standing} was not released"):
        lab.release(standing, endpoint)
    assert time.monotonic() - started < 10


def test_an_emulator_that_dies_on_the_way_is_an_error_in_time(lab: Lab, standing: str, proxy: FaultProxy) -> None:
    proxy.before("GetFunction", lambda: proxy.add(Fault("*", "cut", times=None)))
    started = time.monotonic()
    with (
        lab.changed("\n# dies\n"),
        pytest.raises((LocalError, RegistryError), match=r"does not answer|not reached|Connection"),
        explained("local", f"{standing} was not released"),
    ):
        lab.release(standing, proxy.endpoint)
    assert time.monotonic() - started < 15
    lab.release(standing)
