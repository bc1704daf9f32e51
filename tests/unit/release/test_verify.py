"""What Lambda is asked when nothing changed, and that nothing which changed passes for verified."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse

from pipeline.assembly.model import PushedImage
from pipeline.core.errors import FunctionError
from pipeline.core.events import ignore
from pipeline.oci.values import Digest
from pipeline.release.deployment import Deployment
from pipeline.release.verify import verify_functions

REGISTRY = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
PAGE = 50  # API_ListFunctions


@dataclass
class Function:
    """A function with one published version, which the alias ``live`` refers to. Digests: of the images."""

    digest: Digest
    live: Digest
    state: str = "Active"
    update: str = "Successful"
    weights: dict[str, float] = field(default_factory=dict)

    def configuration(self, digest: Digest) -> dict[str, Any]:
        return {"CodeSha256": digest.hex, "State": self.state, "LastUpdateStatus": self.update, "Version": "1"}


class Lambda:
    """botocore's client of Lambda with the answers of an account in memory; counts the requests."""

    def __init__(self, count: int, *, others: int = 0) -> None:
        digests = {f"f{number:03}": Digest.of(b"%d" % number) for number in range(count)}
        self.pushed = [PushedImage(name, f"{REGISTRY}/{name}-dev", digest) for name, digest in digests.items()]
        self.functions = {f"{name}-dev": Function(digest, digest) for name, digest in digests.items()}
        self.others, self.may_list = others, True
        self.asked: Counter[str] = Counter()
        self.client = botocore.session.get_session().create_client(
            "lambda", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.client.meta.events.register("before-call", self._answer)

    def verify(self, *, settled: bool = True) -> bool:
        target = SimpleNamespace(client=lambda _service: self.client)
        deployment = SimpleNamespace(target=target, names=SimpleNamespace(function=lambda name: f"{name}-dev"))
        return verify_functions(cast(Deployment, deployment), self.pushed, ignore, settled=settled)

    def _answer(self, model: Any, params: Any, **_more: Any) -> tuple[AWSResponse, dict[str, Any]]:
        self.asked[model.name] += 1
        code, answer = self._of(model.name, params)
        metadata = {"HTTPStatusCode": code}
        return AWSResponse("", code, {}, cast(Any, None)), {**answer, "ResponseMetadata": metadata}

    def _of(self, operation: str, params: Any) -> tuple[int, dict[str, Any]]:
        if operation == "ListFunctions":
            return self._list(int(params["query_string"].get("Marker", 0)))
        found = re.search(r"functions/([^/]+)", params["url_path"])
        assert found is not None
        function = self.functions.get(found[1])
        if function is None:
            return 404, {"Error": {"Code": "ResourceNotFoundException", "Message": "not found"}}
        if operation == "GetAlias":
            routing = {"RoutingConfig": {"AdditionalVersionWeights": function.weights}} if function.weights else {}
            return 200, {"FunctionVersion": "1", **routing}
        if operation == "GetFunction":
            digest = function.live if params["query_string"].get("Qualifier") == "live" else function.digest
            uri = f"{REGISTRY}/{found[1]}@{digest}"
            return 200, {"Configuration": function.configuration(digest), "Code": {"ResolvedImageUri": uri}}
        if operation == "UpdateFunctionCode":
            function.digest = Digest.parse(params["body"].decode().rpartition("@")[2].rstrip('"}'))
            function.state, function.update = "Active", "Successful"
        if operation == "UpdateAlias":
            function.live, function.weights = function.digest, {}
        if operation == "ListVersionsByFunction":
            return 200, {"Versions": [{"Version": "$LATEST"}, {"Version": "1"}]}
        return 200, {"Version": "2"}

    def _list(self, start: int) -> tuple[int, dict[str, Any]]:
        if not self.may_list:
            return 403, {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        rows = [{"FunctionName": f"another-{number}", "CodeSha256": "eA=="} for number in range(self.others)]
        rows += [
            {"FunctionName": name, "PackageType": "Image", "CodeSha256": each.digest.hex}
            for name, each in self.functions.items()
        ]
        more = {"NextMarker": str(start + PAGE)} if start + PAGE < len(rows) else {}
        return 200, {"Functions": rows[start : start + PAGE], **more}


@pytest.mark.parametrize("count", [3, 50, 200])
def test_without_a_change_a_function_takes_two_requests(count: int) -> None:
    place = Lambda(count)
    assert place.verify() is False
    assert place.asked == {"ListFunctions": -(-count // PAGE), "GetFunction": count, "GetAlias": count}


def test_after_a_change_every_function_is_asked_for_and_its_old_versions_are_looked_for() -> None:
    place = Lambda(50)
    assert place.verify(settled=False) is False
    assert place.asked == {"GetFunction": 100, "GetAlias": 50, "ListVersionsByFunction": 50}


CHANGES: dict[str, Callable[[Function], None]] = {
    "unpublished code": lambda function: setattr(function, "digest", Digest.of(b"theirs")),
    "the live version": lambda function: setattr(function, "live", Digest.of(b"theirs")),
    "traffic": lambda function: function.weights.update({"2": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_outside_of_the_stack_is_restored(change: str) -> None:
    place = Lambda(50)
    CHANGES[change](place.functions["f007-dev"])
    assert place.verify() is True
    restored = place.functions["f007-dev"]
    assert (restored.digest, restored.live, restored.weights) == (place.pushed[7].digest, place.pushed[7].digest, {})
    place.asked.clear()
    assert place.verify() is False


@pytest.mark.parametrize(("state", "update"), [("Failed", "Successful"), ("Active", "Failed")])
def test_a_function_that_failed_is_not_verified(state: str, update: str) -> None:
    place = Lambda(3)
    failed = place.functions["f001-dev"]
    failed.state, failed.update = state, update
    assert place.verify() is True
    assert (failed.state, failed.update) == ("Active", "Successful")


def test_a_function_that_is_gone_is_an_error() -> None:
    place = Lambda(50)
    del place.functions["f007-dev"]
    with pytest.raises(FunctionError, match="f007-dev was not verified"):
        place.verify()


def test_without_the_permission_to_list_each_function_is_asked_for() -> None:
    place = Lambda(3)
    place.may_list = False
    assert place.verify() is False
    assert place.asked["GetFunction"] == 6


def test_a_few_functions_among_many_do_not_read_the_whole_list() -> None:
    place = Lambda(3, others=5000)
    assert place.verify() is False
    assert place.asked["ListFunctions"] == 3
