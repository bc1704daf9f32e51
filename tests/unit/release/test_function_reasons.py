"""Reasons of Lambda in words: for each code that a function of an image can fail with, in Lambda's own list."""

from __future__ import annotations

import botocore.session
import pytest

from pipeline.release.function_reasons import REASONS, explain_failure

SHAPES = botocore.session.get_session().get_service_model("lambda")
CODES = {
    code
    for shape in ("LastUpdateStatusReasonCode", "StateReasonCode")
    for code in SHAPES.shape_for(shape).enum  # type: ignore[attr-defined]
}


def test_each_code_is_lambdas() -> None:
    assert REASONS.keys() <= CODES


def test_each_error_of_the_function_itself_has_words() -> None:
    assert {code for code in CODES if code.startswith(("FunctionError", "Image"))} <= REASONS.keys()


@pytest.mark.parametrize("code", REASONS)
def test_the_words_come_with_the_code_and_lambdas_own_text(code: str) -> None:
    why, next_step = explain_failure({"State": "Failed", "StateReasonCode": code, "StateReason": "said"})
    assert why.endswith(f"({code}: said)")
    assert next_step.text


def test_a_code_without_words_is_shown_as_lambda_says_it() -> None:
    assert (
        explain_failure({"LastUpdateStatus": "Failed", "LastUpdateStatusReasonCode": "New"})[0] == "Lambda reports: New"
    )
    assert explain_failure({"State": "Failed"})[0] == "Lambda reports: no reason"


def test_the_last_update_is_the_newer_failure() -> None:
    both = {"State": "Failed", "StateReasonCode": "ImageDeleted", "LastUpdateStatus": "Failed",
            "LastUpdateStatusReasonCode": "InvalidImage"}  # fmt: skip
    assert "InvalidImage" in explain_failure(both)[0]
