"""What the program reads out of CloudFormation's and Lambda's answers, held against answers that AWS gave."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cfn.render import TEMPLATE_BODY_MAX
from cfn.rules import ReservedConcurrencyTooHigh
from pipeline.oci.values import Digest
from pipeline.release.verify import running_digest
from pipeline.stacks import StackStatus, changeset
from pipeline.stacks.changeset import Overtaken, overtaken_by_others
from pipeline.stacks.failures import explain, failures_of
from pipeline.stacks.stack_events import StackEvent, last_operation
from pipeline.stacks.state import says_absent
from pipeline.transactions.causes import cause_in_words
from tests.recorded.recordings import answers, machines

ANSWERS = answers()
STACK_ID = "arn:<partition>:cloudformation:<region>:111111111111:stack/<stack-name:1>/<resource:1>"


def content(name: str) -> Any:
    return ANSWERS[name]["content"]


def refusal(name: str) -> ClientError:
    """A recorded refusal as boto3 raises it."""
    recorded = content(name)
    status = recorded["ResponseMetadata"]["HTTPStatusCode"]
    return ClientError({"Error": recorded["Error"], "ResponseMetadata": {"HTTPStatusCode": status}}, "Call")  # type: ignore[typeddict-item]


def answering(**calls: Any) -> Any:
    """A client whose calls give recorded answers."""
    return SimpleNamespace(**{name: lambda _answer=answer, **_: _answer for name, answer in calls.items()})


def test_a_stack_that_is_absent_is_told_from_other_refusals() -> None:
    assert says_absent(refusal("no-such-stack"))
    assert not says_absent(refusal("stack-deleted"))
    assert not says_absent(refusal("no-such-change-set"))
    assert not says_absent(refusal("template-body-too-long"))


@pytest.mark.parametrize(
    "name",
    ["stack-being-deleted", "stack-deleted", "stack-exists", "stack-exists-at-create", "no-such-change-set"],
)
def test_a_stack_that_changed_meanwhile_is_read_again(name: str) -> None:
    with pytest.raises(Overtaken), overtaken_by_others():
        raise refusal(name)


@pytest.mark.parametrize("name", ["template-body-too-long", "reserved-too-much"])
def test_a_refusal_that_stays_is_not_tried_again(name: str) -> None:
    with pytest.raises(ClientError), overtaken_by_others():
        raise refusal(name)


def test_an_empty_change_set_is_known_by_its_reason() -> None:
    reason = content("empty-change-set")["StatusReason"]
    assert content("empty-change-set")["Status"] == "FAILED"
    assert reason.startswith(changeset._EMPTY)
    assert content("empty-update")["Error"]["Message"].startswith(changeset._EMPTY)


def test_the_limit_of_a_template_body_is_the_recorded_one() -> None:
    (limit,) = re.findall(r"less than or equal to (\d+)", content("template-body-too-long")["Error"]["Message"])
    assert int(limit) == TEMPLATE_BODY_MAX


def test_recorded_statuses_are_known() -> None:
    for name in ("stack-in-review", "blocked-deletion-stack"):
        assert StackStatus(content(name)["Stacks"][0]["StackStatus"])


def recorded_events(name: str, key: str) -> Any:
    return answering(describe_stack_events={"StackEvents": content(name)[key]})


def test_the_last_operation_begins_at_the_stack_s_own_event() -> None:
    events = last_operation(recorded_events("blocked-deletion", "StackEvents"), STACK_ID)
    assert [each.status for each in events if each.of_stack(STACK_ID)] == ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]
    assert [each.status for each in events if not each.of_stack(STACK_ID)] == ["DELETE_SKIPPED"]


def test_a_resource_that_failed_is_found_in_the_events() -> None:
    every = [StackEvent.of(each) for each in content("blocked-deletion")["StackEvents"]]
    assert {(each.logical_id, each.resource_type) for each in failures_of(every, STACK_ID)} == {
        ("BrokenPolicy", "AWS::IAM::Policy")
    }


def test_without_a_failed_resource_the_stack_s_own_reason_tells_why() -> None:
    events = last_operation(recorded_events("rolled-back-without-a-resource", "events"), STACK_ID)
    assert failures_of(events, STACK_ID) == ()
    (reason,) = (each.reason for each in events if each.status == "ROLLBACK_IN_PROGRESS")
    assert "does not support attribute {Invalid}" in explain((), reason)


def test_a_function_s_image_is_read_from_the_resolved_uri() -> None:
    digest = Digest.of(b"image")
    for name in ("image-function", "image-function-updated"):
        text = re.sub(r"<code-sha256:\d>", digest.hex, json.dumps(content(name)))
        text = re.sub(r"<repo_uri(_2)?>", "111111111111.dkr.ecr.us-east-1.amazonaws.com/f", text)
        found = json.loads(text)
        assert found["Code"]["ImageUri"].endswith(":latest")
        assert running_digest(answering(get_function=found), "f") == digest


@pytest.mark.parametrize("name", ["image-function", "image-function-updated"])
def test_the_code_sha_of_a_function_is_its_image_s_digest(name: str) -> None:
    found = content(name)
    assert found["Code"]["ResolvedImageUri"].endswith(f"@sha256:{found['Configuration']['CodeSha256']}")


def test_a_function_is_not_done_when_its_call_returns() -> None:
    assert content("image-function-created")["State"] == "Pending"
    updating = content("image-function-being-updated")
    assert (updating["State"], updating["LastUpdateStatus"]) == ("Active", "InProgress")
    done = content("image-function-updated")["Configuration"]
    assert (done["State"], done["LastUpdateStatus"]) == ("Active", "Successful")


def test_a_package_type_is_for_ever() -> None:
    for name in ("image-to-zip", "zip-to-image"):
        assert content(name)["Error"]["Code"] == "InvalidParameterValueException"
        assert "when updating a function with packageType" in content(name)["Error"]["Message"]


def test_a_published_version_has_a_number_and_the_code_s_digest() -> None:
    assert content("version-published")["Version"].isdecimal()
    assert content("version-published")["CodeSha256"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no-such-function", "ResourceNotFoundException"),
        ("function-throttled", "TooManyRequestsException"),
        ("condition-failed", "ConditionalCheckFailedException"),
        ("no-such-change-set", "ChangeSetNotFound"),
    ],
)
def test_codes_that_the_program_tells_apart(name: str, code: str) -> None:
    assert content(name)["Error"]["Code"] == code


def test_reserved_concurrency_is_refused_in_the_words_that_the_rule_quotes() -> None:
    said = content("reserved-too-much")["Error"]["Message"]
    (quoted,) = re.findall(r"'(decreases account's [^']*)'", ReservedConcurrencyTooHigh.description) or [""]
    assert quoted
    assert quoted in said


def test_the_cause_of_a_failed_function_is_told_in_its_words() -> None:
    cause = json.dumps(machines()["invoke-raises"]["cause"], separators=(",", ":"))
    assert cause_in_words(cause) == 'Some exception was raised. (File "/var/task/handler.py", line 2, in handler)'


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            '{"__type": "TooManyRequestsException", "message": "Rate Exceeded.", "retryAfterSeconds": "1"}',
            "Rate Exceeded.",
        ),
        ('Assess: {"message": "Rate Exceeded."}', "Rate Exceeded."),
        ('{"message": 1}', '{"message": 1}'),
        ('["message"]', '["message"]'),
        ("Rate Exceeded. (Service: Lambda)", "Rate Exceeded. (Service: Lambda)"),
    ],
)
def test_a_cause_of_a_service_is_its_message(cause: str, words: str) -> None:
    assert cause_in_words(cause) == words
