"""The API call that an HTTP request to ministack is, and an error in the form of its protocol."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

# Lambda's calls that have refusals: method, path, and the members of the path (B lambda, requestUri).
_LAMBDA = (
    ("POST", re.compile(r"/2015-03-31/functions/?"), "CreateFunction"),
    ("PUT", re.compile(r"/2015-03-31/functions/(?P<FunctionName>[^/]+)/code"), "UpdateFunctionCode"),
    ("PUT", re.compile(r"/2015-03-31/functions/(?P<FunctionName>[^/]+)/configuration"), "UpdateFunctionConfiguration"),
    ("PUT", re.compile(r"/2017-10-31/functions/(?P<FunctionName>[^/]+)/concurrency"), "PutFunctionConcurrency"),
    ("POST", re.compile(r"/2015-03-31/functions/(?P<FunctionName>[^/]+)/invocations"), "Invoke"),
    ("POST", re.compile(r"/2017-03-31/tags/(?P<Resource>.+)"), "TagResource"),
)
_QUERY = ("cloudformation", "ec2", "iam", "sns")

Parsed = tuple[str, Mapping[str, Any]]


def parse_call(
    service: str, method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
) -> Parsed | None:
    """The call's name and its parameters as the API names them; None for a request that has no refusals."""
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2], _json(body)
    if service == "lambda":
        for verb, pattern, call in _LAMBDA:
            match = pattern.fullmatch(path)
            if match and verb == method:
                named = {name: unquote(value) for name, value in match.groupdict().items()}
                return call, {**named, "Payload": body} if call == "Invoke" else {**_json(body), **named}
        return None
    if service == "s3":
        bucket, _, key = path.lstrip("/").partition("/")
        return ("CreateBucket", {"Bucket": bucket}) if method == "PUT" and bucket and not key and not query else None
    if service in _QUERY:
        flat: dict[str, Any] = {name: _first(value) for name, value in query.items()}
        flat.update(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        return (str(flat["Action"]), flat) if "Action" in flat else None
    return None


def error_response(service: str, code: str, message: str, status: int, extra: Mapping[str, str] | None) -> Any:
    """An error as the service writes it: status, headers, body."""
    if service in _QUERY:
        if service == "cloudformation":
            return importlib.import_module("ministack.services.cloudformation.helpers")._error(code, message, status)
        module = importlib.import_module(f"ministack.services.{service}")
        return module._error(status, code, message) if service == "iam" else module._error(code, message, status)
    responses = importlib.import_module("ministack.core.responses")
    if service == "s3":
        return responses.error_response_xml(code, message, status)
    return responses.error_response_json(code, message, status, dict(extra or {}))


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value
