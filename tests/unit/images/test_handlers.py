"""The three handlers as Lambda calls them: results, log, metrics, and errors that give nothing away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools.metrics.provider import cold_start
from transactions.invocation import InternalError, InvalidEvent, Invocation

from tests.unit.images.loading import FUNCTIONS, IMAGES, captured_log, context, event, load_handler, transaction

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_DIGEST", DIGEST)
    monkeypatch.setattr(cold_start, "is_cold_start", False)


@pytest.fixture
def validation() -> ModuleType:
    return load_handler("transaction-validation")


@pytest.fixture
def compliance() -> ModuleType:
    return load_handler("compliance-checking")


@pytest.fixture
def fraud() -> ModuleType:
    return load_handler("fraud-detection")


# -- results


def test_validation_gives_the_canonical_sample(validation: ModuleType) -> None:
    assert validation.handle(event("sample"), context()) == {
        "valid": True,
        "transaction": event("canonical-sample")["transaction"],
        "faults": [],
        "rules": "2026-11-01",
        "image": DIGEST,
    }


def test_validation_answers_faults_and_does_not_fail(validation: ModuleType) -> None:
    result = validation.handle(event("faulty"), context())
    assert result["valid"] is False
    assert "transaction" not in result
    assert result["faults"][1] == {
        "field": "amount",
        "code": "not_positive",
        "message": "an amount is greater than zero",
    }
    assert len(result["faults"]) == 8


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_what_is_not_a_transaction_at_all_is_an_answer(validation: ModuleType, document: object) -> None:
    result = validation.handle(event("sample") | {"transaction": document}, context())
    assert [fault["code"] for fault in result["faults"]] == ["not_an_object"]


@pytest.mark.parametrize(
    ("name", "compliant", "rules"),
    [
        ("canonical-sample", True, ["country_unknown", "name_unscreened"]),
        ("canonical-embargoed", False, ["country_embargoed", "country_unknown", "name_unscreened"]),
        ("canonical-watch-list", True, ["country_unknown", "watch_list"]),
        ("canonical-risky", True, ["name_unscreened", "reporting_threshold"]),
    ],
)
def test_compliance_findings(compliance: ModuleType, name: str, compliant: bool, rules: list[str]) -> None:
    result = compliance.handle(event(name), context())
    assert result["compliant"] is compliant
    assert [finding["rule"] for finding in result["findings"]] == rules
    assert (result["rules"], result["image"]) == ("2026-11-30", DIGEST)


def test_the_output_of_validation_is_the_input_of_compliance(validation: ModuleType, compliance: ModuleType) -> None:
    valid = json.loads(json.dumps(validation.handle(event("full"), context())))
    result = compliance.handle(event("full") | {"transaction": valid["transaction"]}, context())
    assert [(finding["rule"], finding["action"]) for finding in result["findings"]] == [
        ("watch_list", "REVIEW"),
        ("structuring", "REVIEW"),
    ]


def test_results_are_json_with_plain_types(compliance: ModuleType) -> None:
    result = compliance.handle(event("canonical-embargoed"), context())
    assert json.loads(json.dumps(result)) == result


def test_fraud_detection_scores_the_sample(fraud: ModuleType) -> None:
    assert fraud.handle(event("canonical-sample"), context()) == {
        "score": 0,
        "reasons": [],
        "rules": "2026-11-30",
        "image": DIGEST,
    }


def test_an_unknown_image_is_told(compliance: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGE_DIGEST")
    assert compliance.handle(event("canonical-sample"), context())["image"] == "unknown"


# -- the contract with the state machine


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (None, "the event has no transaction"),
        ([], "the event has no transaction"),
        ({}, "the event has no transaction"),
        ({"transaction": {}}, "received_at cannot be used"),
        ({"transaction": {}, "received_at": "today"}, "received_at cannot be used"),
    ],
)
@pytest.mark.parametrize("function", ["transaction-validation", "compliance-checking"])
def test_an_event_of_another_shape_is_an_error(function: str, broken: Any, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        load_handler(function).handle(broken, context())


def test_compliance_takes_a_canonical_transaction_only(compliance: ModuleType) -> None:
    with pytest.raises(InvalidEvent, match=r"not in canonical form \(amount: precision, cvv: card_data\)") as error:
        compliance.handle(event("sample") | {"transaction": transaction(amount="1.005", cvv="737")}, context())
    assert "737" not in str(error.value)


# -- log and metrics


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def records(text: str) -> list[dict[str, Any]]:
    """A log that is nothing but JSON lines."""
    return [json.loads(line) for line in text.splitlines() if line]


def test_every_log_line_names_the_transaction_the_execution_and_the_rules(validation: ModuleType) -> None:
    with captured_log() as log:
        validation.handle(event("sample"), context())
    (record,) = records(log.getvalue())
    assert record["transaction_id"] == "test-123"
    assert record["execution"] == "test-123-1"
    assert record["rules"] == "2026-11-01"
    assert record["function_request_id"] == context().aws_request_id


def test_nothing_of_one_invocation_is_in_the_log_of_the_next(validation: ModuleType) -> None:
    with captured_log() as log:
        validation.handle(event("sample"), context())
        validation.handle({"transaction": 5, "received_at": "2026-11-23T14:00:00.000Z"}, context())
        with pytest.raises(InvalidEvent):
            validation.handle({}, context())
    _, second, third = records(log.getvalue())
    assert second["transaction_id"] == "unusable"
    assert second.get("execution") is None
    assert "transaction_id" not in third


@pytest.mark.parametrize("value", ["4111111111111111", "a b", "x" * 300, "line\nbreak", 5, None, ["test-123"]])
def test_only_a_well_formed_id_is_logged(validation: ModuleType, value: Any) -> None:
    with captured_log() as log:
        validation.handle(event("sample") | {"transaction": transaction() | {"transaction_id": value}}, context())
    assert [record["transaction_id"] for record in records(log.getvalue())] == ["unusable"]


def test_a_failed_invocation_is_counted(fraud: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with captured_log() as log, pytest.raises(InvalidEvent, match="history"):
        fraud.handle(event("canonical-sample") | {"history": None}, context())
    (blob,) = records(capsys.readouterr().out)
    assert blob["InvocationsFailed"] == [1.0]
    (record,) = records(log.getvalue())
    assert (record["level"], record["error"], record["transaction_id"]) == ("ERROR", "InvalidEvent", "test-123")


def test_a_defect_leaves_with_its_type_and_place_and_without_its_text(
    validation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(document: dict[str, Any], *_: Any) -> None:
        raise KeyError(f"cannot read {document['customer_name']}")

    monkeypatch.setattr(validation, "validate", explode)
    document = event("sample") | {"transaction": transaction(customer_name="Jane Secretname")}
    with captured_log() as log, pytest.raises(InternalError) as error:
        validation.handle(document, context())
    # The Lambda runtime logs the text and the trace of what leaves the handler; Python's own trace shows still more.
    told = "".join(traceback.format_exception(error.value)) + log.getvalue()
    assert re.fullmatch(r"KeyError at test_handlers\.py:\d+ in explode", str(error.value))
    assert error.value.__context__ is None
    assert error.value.__cause__ is None
    assert "Secretname" not in told


SECRETS = {
    "card": "4111111111111111",
    "code": "cvv-737-secret",
    "name": "Jane Secretname",
    "merchant": "merchant-secret",
    "customer": "customer-secret",
    "amount": "31337.42",
}
DRIVER = """
import json, sys, traceback
sys.path[:0] = sys.argv[1:3]
import handler
from tests.unit.images.loading import context
for line in sys.stdin:
    try:
        handler.handle(json.loads(line), context())
    except Exception:
        traceback.print_exc()
print(json.dumps({"modules": sorted(sys.modules)}))
"""


def run_function(function: str, events: list[dict[str, Any]], **variables: str) -> str:
    """Everything that a function writes, in a process of its own with the variables that the stack sets."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, str(IMAGES / function), str(IMAGES)],
        input="".join(json.dumps(document) + "\n" for document in events),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(IMAGES.parent),
            "POWERTOOLS_SERVICE_NAME": function,
            "POWERTOOLS_METRICS_NAMESPACE": "TransactionPipeline",
            "POWERTOOLS_LOG_LEVEL": "DEBUG",
            "POWERTOOLS_LOGGER_LOG_EVENT": "true",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return process.stdout + process.stderr


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_card_data_no_name_and_no_payload_is_in_anything_that_a_function_writes(function: str) -> None:
    good = transaction(
        amount=SECRETS["amount"],
        amount_minor=3133742,
        customer_name=SECRETS["name"],
        merchant_id=SECRETS["merchant"],
        customer_id=SECRETS["customer"],
    )
    documents = [
        good,
        {name: value for name, value in good.items() if name != "amount_minor"},
        good | {"card_number": SECRETS["card"], "cvv": SECRETS["code"]},
        good | {"transaction_id": SECRETS["card"]},
        good | {SECRETS["card"]: 1, "beneficiary_name": SECRETS["card"]},
        good | {"currency": SECRETS["code"], "timestamp": SECRETS["name"], "ip_country": SECRETS["code"]},
        [SECRETS["card"]],
        SECRETS["name"],
    ]
    events = [event("sample") | {"transaction": document} for document in documents]
    events += [{"transaction": good, "received_at": SECRETS["name"], "execution": SECRETS["name"]}]
    events += [event("canonical-sample") | {"history": SECRETS["name"]}]
    events += [event("canonical-sample") | {"history": {"since": SECRETS["name"], "limit": 21, "transactions": []}}]
    written = run_function(function, events)
    assert "test-123" in written
    assert [name for name, secret in SECRETS.items() if secret in written] == []


# What costs INIT time and is easily pulled in. Powertools imports the bare package botocore, where there is one.
HEAVY = {
    "asyncio",
    "boto3",
    "botocore.session",
    "email",
    "http.client",
    "pydantic",
    "requests",
    "ssl",
    "tomllib",
    "urllib3",
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_nothing_that_an_invocation_does_not_need(function: str) -> None:
    written = run_function(function, [event("sample"), event("canonical-embargoed")])
    (modules,) = [record["modules"] for record in json_lines(written) if "modules" in record]
    assert set(modules) & HEAVY == set()


def test_metrics_have_the_service_as_their_only_dimension() -> None:
    written = run_function("transaction-validation", [event("sample"), event("faulty")])
    written += run_function("compliance-checking", [event("canonical-embargoed")])
    blobs = [record for record in json_lines(written) if "_aws" in record and "ColdStart" not in record]
    assert [[metric["Name"] for metric in blob["_aws"]["CloudWatchMetrics"][0]["Metrics"]] for blob in blobs] == [
        ["TransactionsValid", "TransactionsJudged"],
        ["TransactionsInvalid", "TransactionsJudged"],
        ["FindingsBlock", "FindingsReview", "FindingsReport", "TransactionsJudged"],
    ]
    for blob in blobs:
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == ("TransactionPipeline", [["service"]])
        assert "test-123" not in json.dumps(blob)


def test_the_execution_of_an_event_is_kept_only_as_a_name_of_step_functions() -> None:
    base = event("sample")
    assert Invocation.parse(base | {"execution": "a-1_B"}).execution == "a-1_B"
    for value in ("", "a b", "x" * 81, 5, None, ["a"]):
        assert Invocation.parse(base | {"execution": value}).execution is None
