"""Logins: Docker's configuration, its helpers, and ECR's tokens."""

from __future__ import annotations

import base64
import datetime
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.stub import Stubber

from pipeline.core.errors import CredentialsError
from pipeline.oci.registry.client import Credentials, Registry, connect
from pipeline.oci.registry.ecr import ecr_credentials
from pipeline.oci.registry.logins import docker_credentials
from pipeline.oci.values import Digest
from tests.servers.registry import LoopbackRegistry

HOST = "registry.example:5000"


def encoded(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Writes Docker's configuration and makes it the one that is read."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def write(content: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs ``docker-credential-test`` with a shell script as its body."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def install(body: str) -> None:
        path = folder / "docker-credential-test"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


@pytest.mark.parametrize(
    ("auths", "expected"),
    [
        ({HOST: {"auth": encoded("user:pass:word")}}, Credentials("user", "pass:word")),
        ({f"https://{HOST}": {"auth": encoded("user:x")}}, Credentials("user", "x")),
        ({f"https://{HOST}/v1/": {"auth": encoded("user:x")}}, Credentials("user", "x")),
        ({f"{HOST}/v2": {"auth": encoded("user:x")}}, Credentials("user", "x")),
        ({HOST: {"auth": encoded("user:x"), "identitytoken": "token"}}, Credentials(identity_token="token")),
        ({HOST: {}}, None),
        ({"registry.example": {"auth": encoded("user:x")}}, None),
        ({f"evil.example/{HOST}": {"auth": encoded("user:x")}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_login_of_the_configuration(config: Callable[[Any], Path], auths: Any, expected: Credentials | None) -> None:
    path = config({"auths": auths})
    before = path.read_bytes()
    assert docker_credentials(HOST) == expected
    assert path.read_bytes() == before


def test_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert docker_credentials(HOST) is None


def test_docker_hub_has_a_key_of_its_own(config: Callable[[Any], Path]) -> None:
    config({"auths": {"https://index.docker.io/v1/": {"auth": encoded("user:x")}}})
    assert docker_credentials("docker.io") == Credentials("user", "x")


def test_configuration_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("a:b")}}}))
    assert docker_credentials(HOST) == Credentials("a", "b")


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "is not readable JSON"), ({"auths": {HOST: {"auth": "§secret§"}}}, "is not a configuration")],
)
def test_configuration_that_cannot_be_read(config: Callable[[Any], Path], content: Any, why: str) -> None:
    config(content)
    with pytest.raises(CredentialsError, match=why) as caught:
        docker_credentials(HOST)
    assert "§secret§" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {HOST: "test"}}])
def test_login_of_a_helper(
    config: Callable[[Any], Path], helper: Callable[[str], None], setting: dict[str, Any]
) -> None:
    config(setting | {"auths": {HOST: {"auth": encoded("not:me")}}})
    helper(f'read host; [ "$1" = get ] && [ "$host" = {HOST} ] && echo \'{{"Username":"user","Secret":"s"}}\'')
    assert docker_credentials(HOST) == Credentials("user", "s")


def test_identity_token_of_a_helper(config: Callable[[Any], Path], helper: Callable[[str], None]) -> None:
    config({"credsStore": "test"})
    helper('echo \'{"Username":"<token>","Secret":"s"}\'')
    assert docker_credentials(HOST) == Credentials(identity_token="s")


def test_helper_without_a_login_leaves_the_configuration(
    config: Callable[[Any], Path], helper: Callable[[str], None]
) -> None:
    config({"credsStore": "test", "auths": {HOST: {"auth": encoded("user:x")}}})
    helper("echo credentials not found in native keychain; exit 1")
    assert docker_credentials(HOST) == Credentials("user", "x")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo top-secret; exit 3", "ended with status 3"),
        ("echo top-secret", "did not print a login"),
        ("echo '[\"top-secret\"]'", "did not print a login"),
    ],
)
def test_helper_that_fails_is_named_and_not_quoted(
    config: Callable[[Any], Path], helper: Callable[[str], None], body: str, why: str
) -> None:
    config({"credsStore": "test"})
    helper(body)
    with pytest.raises(CredentialsError, match=f"docker-credential-test {why}") as caught:
        docker_credentials(HOST)
    assert "top-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_helper_that_is_not_installed(config: Callable[[Any], Path]) -> None:
    config({"credsStore": "missing-here"})
    with pytest.raises(CredentialsError, match="docker-credential-missing-here, which is not installed"):
        docker_credentials(HOST)


def test_helper_outside_of_the_path_is_refused(config: Callable[[Any], Path]) -> None:
    config({"credsStore": "../../evil"})
    with pytest.raises(CredentialsError, match="is not a name of a credential helper"):
        docker_credentials(HOST)


def test_helper_that_hangs_is_ended(
    config: Callable[[Any], Path], helper: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.oci.registry.logins.HELPER_SECONDS", 0.2)
    config({"credsStore": "test"})
    helper("exec sleep 60")
    with pytest.raises(CredentialsError, match="did not answer within 0 s"):
        docker_credentials(HOST)


def test_login_is_read_when_the_registry_asks(config: Callable[[Any], Path], server: LoopbackRegistry) -> None:
    config("{ broken")
    with connect(server.host) as registry:
        assert registry.head_blob("app", Digest.of(b"")) is None
        server.auth = "basic"
        with pytest.raises(CredentialsError):
            registry.head_blob("app", Digest.of(b""))
        config({"auths": {server.host: {"auth": encoded("user:secret")}}})
        assert registry.head_blob("app", Digest.of(b"")) is None


class TestEcr:
    """Amazon ECR's logins, against botocore's stub of the service."""

    @pytest.fixture
    def client(self) -> Any:
        return boto3.client("ecr", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    @staticmethod
    def token(password: str, hours: float = 12) -> dict[str, Any]:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
        return {"authorizationData": [{"authorizationToken": encoded(f"AWS:{password}"), "expiresAt": end}]}

    def test_token_is_asked_for_once(self, client: Any) -> None:
        with Stubber(client) as stub:
            stub.add_response("get_authorization_token", self.token("one"))
            source = ecr_credentials(client)
            assert [source.current() for _ in range(3)] == [Credentials("AWS", "one")] * 3
            stub.assert_no_pending_responses()

    def test_token_is_renewed_before_its_end(self, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        with Stubber(client) as stub:
            for password in ("one", "two"):
                stub.add_response("get_authorization_token", self.token(password))
            source = ecr_credentials(client)
            assert source.current() == Credentials("AWS", "one")
            now += 11.4 * 3600
            assert source.current() == Credentials("AWS", "one")
            now += 0.2 * 3600
            assert source.current() == Credentials("AWS", "two")

    def test_clock_that_is_off_does_not_ask_each_time(self, client: Any) -> None:
        with Stubber(client) as stub:
            stub.add_response("get_authorization_token", self.token("one", hours=-5))
            source = ecr_credentials(client)
            assert source.current() == source.current() == Credentials("AWS", "one")

    @pytest.mark.parametrize("status", [401, 403])
    def test_token_that_the_registry_refuses_is_renewed(
        self, client: Any, server: LoopbackRegistry, status: int
    ) -> None:
        server.auth, server.expired = "basic", status
        server.logins = [encoded("AWS:two")]
        with Stubber(client) as stub:
            for password in ("one", "two"):
                stub.add_response("get_authorization_token", self.token(password))
            host = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
            with Registry(host, endpoint_url=server.url, credentials=ecr_credentials(client)) as registry:
                assert registry.head_blob("app", Digest.of(b"")) is None

    def test_refusal_of_the_service_is_told(self, client: Any) -> None:
        with Stubber(client) as stub:
            stub.add_client_error("get_authorization_token", "AccessDeniedException", "not authorized to perform")
            with pytest.raises(CredentialsError, match="AccessDeniedException: not authorized to perform") as caught:
                ecr_credentials(client).current()
        assert "ecr:GetAuthorizationToken" in str(caught.value.next_step)

    def test_answer_without_a_token_is_told_without_quoting_it(self, client: Any) -> None:
        with Stubber(client) as stub:
            stub.add_response("get_authorization_token", {"authorizationData": [{"authorizationToken": "§secret§"}]})
            with pytest.raises(CredentialsError, match="without a readable token") as caught:
                ecr_credentials(client).current()
        assert "secret§" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_no_credentials(self, client: Any) -> None:
        class Nobody:
            def get_authorization_token(self) -> Any:
                raise botocore.exceptions.NoCredentialsError

        with pytest.raises(CredentialsError, match="there are no AWS credentials"):
            ecr_credentials(Nobody()).current()  # type: ignore[arg-type]


def test_manifests_are_kept_below_the_quota_of_ecr() -> None:
    from pipeline.oci.registry.retries import Pace

    now = [0.0]
    waited: list[float] = []
    pace = Pace(
        9, clock=lambda: now[0], sleep=lambda seconds: (waited.append(seconds), now.append(now.pop() + seconds))[0]
    )
    passed = []
    for _ in range(40):
        pace.wait()
        passed.append(now[0])
    for start in passed:
        assert sum(start <= moment < start + 1 for moment in passed) <= 9
    assert passed[-1] < 5


def test_pace_holds_for_ecr_but_not_for_an_emulator_of_it(server: LoopbackRegistry) -> None:
    host = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
    assert Registry(host).manifests_per_second == 9
    assert Registry(host, endpoint_url=server.url).manifests_per_second is None
    assert Registry(server.host).manifests_per_second is None
