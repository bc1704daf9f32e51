"""The pipeline's state machine, held against what AWS was recorded to answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from cfn.workflow.composition import definition
from tests.aws.beliefs import EXPRESSIONS, UNPREDICTABLE
from tests.recorded.differences import DIFFERENCES, Difference, states, texts
from tests.recorded.recordings import answers, machines
from tests.recorded.specified import SPECIFIED

OURS = definition()
RECORDED = machines()

# Errors that the definition handles and no recording shows. docs/aws-rules.md says what each rests on.
NOT_RECORDED = {
    *(
        f"{prefix}.{name}Exception"
        for prefix in ("DynamoDB", "DynamoDb")
        for name in ("ConditionalCheckFailed", "InternalServerError", "ProvisionedThroughputExceeded",
                     "RequestLimitExceeded", "SdkClient", "Throttling")
    ),
    *(
        f"Lambda.{name}Exception"
        for name in ("AWSLambda", "ClientExecutionTimeout", "CodeArtifactUserPending", "EC2Throttled",
                     "ResourceNotReady", "SdkClient", "Service", "TooManyRequests")
    ),
    *(f"SecretsManager.{name}Exception" for name in ("InternalServiceError", "SdkClient", "SecretsManager")),
}  # fmt: skip
# Integrations that it calls and no recording shows.
NOT_CALLED = {"arn:aws:states:::aws-sdk:secretsmanager:getSecretValue"}


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: each.what)
def test_it_depends_on_no_difference(difference: Difference) -> None:
    assert difference.used_by(OURS) == []


# For differences that no recorded machine depends on.
DEPENDING = {
    "The text of a Cause": {"Type": "Pass", "Output": "{% $parse($states.input.Cause).errorMessage %}", "End": True},
    "Metadata of a result": {"Type": "Pass", "Output": "{% $states.input.ExecutedVersion %}", "End": True},
    "A payload of null": {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": "f"},
    },
}


@pytest.mark.parametrize(
    "difference", [each for each in DIFFERENCES if not each.what.startswith("`output` of")], ids=lambda each: each.what
)
def test_what_depends_on_a_difference_is_found(difference: Difference) -> None:
    definitions = [each["definition"] for each in (RECORDED | SPECIFIED).values()]
    if state := DEPENDING.get(difference.what):
        definitions.append({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": state}})
    assert any(difference.used_by(each) for each in definitions)


def used(kind: str) -> set[str]:
    return {state[kind] for _, state, _ in states(OURS) if kind in state}


def recorded(kind: str) -> set[str]:
    """Values of a field in recorded machines that were entered and left."""
    return {
        state[kind]
        for each in RECORDED.values()
        for name, state, _ in states(each["definition"])
        if kind in state and (each["states"] is None or any(left["name"] == name for left in each["states"]))
    }


def test_every_type_of_state_was_recorded() -> None:
    # A Succeed or a Fail ends the execution, so no recording has its output.
    assert used("Type") <= recorded("Type") | {"Succeed", "Fail"}


def test_every_integration_was_recorded_or_is_listed() -> None:
    assert used("Resource") - recorded("Resource") == NOT_CALLED


def given_errors() -> set[str]:
    return {each["error"] for each in RECORDED.values() if each.get("error")} | {
        text for each in RECORDED.values() for text in texts(each.get("output")) if re.fullmatch(r"\w+\.\w+", text)
    }


def handled() -> Iterator[str]:
    for _, state, _ in states(OURS):
        for rule in (*state.get("Retry", ()), *state.get("Catch", ())):
            yield from rule["ErrorEquals"]


def test_every_error_that_it_handles_was_recorded_or_is_listed() -> None:
    wildcards = {"States.ALL", "States.TaskFailed"}
    assert {*handled()} - wildcards - given_errors() <= NOT_RECORDED


def caught_by(error: str) -> set[str]:
    """The errors that a Catch of ``error`` was recorded to catch."""
    caught = set()
    for each in RECORDED.values():
        for name, state, _ in states(each["definition"]):
            rules = [rule for rule in state.get("Catch", ()) if error in rule["ErrorEquals"]]
            for left in each["states"] or ():
                output = left["output"]
                if rules and left["name"] == name and isinstance(output, dict):
                    caught |= {text for text in (output.get("Error"),) if isinstance(text, str)}
    return caught


def test_states_all_catches_what_the_definition_needs() -> None:
    assert {"Exception", "States.DataLimitExceeded"} <= caught_by("States.ALL")


def test_states_task_failed_means_an_error_of_a_function() -> None:
    assert {"Exception", "Lambda.ResourceNotFoundException"} <= caught_by("States.TaskFailed")


def test_states_runtime_is_not_caught() -> None:
    machine = RECORDED["catch-runtime"]
    assert machine["definition"]["States"]["RaiseRuntime"]["Catch"][0]["ErrorEquals"] == ["States.Runtime"]
    assert (machine["status"], machine["error"]) == ("FAILED", "States.Runtime")


def test_an_undefined_expression_is_an_error_that_has_a_name() -> None:
    undefined = [each for name, each in RECORDED.items() if name.startswith("undefined-")]
    assert len(undefined) == 6
    assert {each["error"] for each in undefined} == {"States.QueryEvaluationError"}


def test_a_branch_s_fail_gives_the_parallel_its_error_and_cause() -> None:
    """Park reads the failed branch from the cause that the branch's Fail state wrote."""
    machine = RECORDED["parallel-catch"]
    (fail,) = (state for _, state, _ in states(machine["definition"]) if state["Type"] == "Fail")
    assert machine["output"] == {"Error": fail["Error"], "Cause": fail["Cause"]}


def test_the_results_of_branches_come_in_the_order_of_the_branches() -> None:
    assert RECORDED["parallel-order"]["output"] == [{"branch": number} for number in range(4)]


def test_a_catch_can_assign_and_shape_data() -> None:
    """With JSONata, and the error's Error and Cause in $states.errorOutput."""
    (left, _) = RECORDED["catch-output"]["states"]
    assert {*left["output"]["stateError"]} == {"Error", "Cause"}
    assert RECORDED["assign-in-catch"]["states"][0]["variables"]["result"]["Error"] == "Exception"


def test_a_branch_sees_outer_variables_and_keeps_its_own() -> None:
    machine = RECORDED["assign-in-parallel"]
    left = {each["name"]: each.get("variables") for each in machine["states"]}
    assert left["State0"] == {"x": 42}
    assert left["Branch1"]["innerX"] == 42
    assert not {"innerX", "value"} & (left[next(reversed(left))] or {}).keys()


def test_error_and_cause_of_a_fail_may_be_expressions() -> None:
    assert RECORDED["fail-error-expression"]["error"] == "Exception"
    assert RECORDED["fail-cause-expression"]["cause"] == "This failed to due an Exception."


def test_a_timeout_has_a_name_and_an_empty_cause() -> None:
    assert RECORDED["invoke-timeout"]["error"] == "States.Timeout"
    assert RECORDED["invoke-timeout-caught"]["output"]["error"] == {"Error": "States.Timeout", "Cause": ""}


def test_a_failed_synchronous_execution_has_status_error_and_cause_and_no_output() -> None:
    machine = RECORDED["fail"]
    assert (machine["status"], machine["error"], "output" in machine) == ("FAILED", "SomeFailure", False)
    assert machine["cause"]


def functions(value: Any) -> set[str]:
    return {
        name
        for text in texts(value)
        if text.lstrip().startswith("{%")
        for name in re.findall(r"\$(\w+)\s*\(", re.sub(r"'[^']*'", "''", text))
    }


def test_every_function_of_jsonata_was_recorded_or_is_tried_first() -> None:
    evaluated = set().union(*(functions(each["definition"]) for each in RECORDED.values()))
    own = {name for text in texts(OURS) for name in re.findall(r"\$(\w+)\s*:=\s*function", text)}
    assert functions(OURS) - evaluated - own == EXPRESSIONS.keys() | UNPREDICTABLE.keys()


def test_express_has_no_tokens_and_no_history() -> None:
    kept = answers()
    assert "waitForTaskToken" in str(kept["express-waits-for-token"]["content"])
    assert kept["express-has-no-history"]["content"]["Error"]["Code"] == "InvalidArn"


def test_logs_of_errors_have_error_and_cause_and_no_other_data() -> None:
    """Also without IncludeExecutionData: what a Fail state puts into its cause is logged."""
    entered, failed = answers()["log-of-errors-without-data"]["content"]
    assert {*entered["details"]} == {"name"}
    assert {*failed["details"]} == {"error", "cause"}
