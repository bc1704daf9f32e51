"""What its OpenAPI document describes, and what it excludes, is answered as the document says: a public fuzzer asks."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.conftest import examples
from tests.functional.conftest import EmbeddedAws
from tests.functional.entrances.conftest import Entrances
from tests.functional.signed_requests import signed_headers

pytestmark = pytest.mark.at_length

load_all_checks()
# Not those that a faulty transaction is refused for its shape: the reader takes more than one spelling of a value.
ANSWERS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
OPERATIONS = [("POST", "/transactions"), ("GET", "/transactions/{id}"), ("GET", "/openapi.json")]


class Signed(requests.auth.AuthBase):
    """Signs what is sent as the account root."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self._aws = aws

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert request.method is not None
        assert request.url is not None
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        # Others are added by the connection, so they are not signed.
        signed = signed_headers(self._aws, request.method, request.url, body)
        request.headers.update(
            {name: value for name, value in signed.items() if name in ("Authorization", "X-Amz-Date")}
        )
        return request


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["described", "excluded"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_requests_are_answered_as_the_document_says(
    entrances: Entrances, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(entrances.send("GET", "/openapi.json")[2])
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
        pytest.skip("nothing can be wrong with it")
    auth = Signed(entrances.aws)

    @settings(max_examples=examples(0.8), suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(base_url=entrances.outputs["ApiUrl"], auth=auth)
        case.validate_response(response, checks=ANSWERS)

    ask()
