"""The state machine's definition: one answer per transaction, whatever happens.

The definition is a plain value in the Amazon States Language with JSONata. What belongs to a stack stands in it as
``${Name}`` (see ``SUBSTITUTIONS``) and is filled in by CloudFormation, or by ``json.dumps(...).replace`` in a test.

Rules that every state here keeps:

- A Choice or a Pass cannot catch an error, so whatever may fail to evaluate (a payload, a function's answer) is
  evaluated and checked in a Task, where it is caught. Expressions in a Choice or a Pass only touch checked values.
- ``States.ALL`` catches neither ``States.Runtime`` nor ``States.DataLimitExceeded``; the first cannot happen when the
  rule above is kept, the second is caught by name where a result has no bound.
- No field of a Parallel or a Succeed state shapes data, only Pass, Task and Choice do.
"""

from __future__ import annotations

from cfn.workflow_expressions import (
    COMPLIANCE,
    DETAILS_DAYS,
    DETAILS_PREFIX,
    EXECUTION,
    FAULTS,
    FRAUD,
    INPUT,
    LEASE_SECONDS,
    LET_FINGERPRINT,
    LET_INPUT,
    NO_USABLE_ID,
    NOT_AN_OBJECT,
    PATIENCE_SECONDS,
    REFUSED_TOO_LARGE,
    STARTED,
    TOKEN,
    TOO_LARGE,
    USABLE_ID,
    answer_fields,
    expression,
    judge_of,
)
from cfn.workflow_failures import known_states, park_states
from cfn.workflow_tasks import (
    ASSESS_SECONDS,
    CONDITION_FAILED,
    SERVICE_SECONDS,
    VALIDATE_SECONDS,
    State,
    invoke_task,
    park_on_error,
    retry,
    table_task,
    update_arguments,
)


def definition(
    *,
    lease_seconds: int = LEASE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    details_days: int = DETAILS_DAYS,
) -> State:
    """The state machine as a value, with ``${…}`` for what belongs to a stack.

    lease_seconds     a claim may be taken over when it is older than this
    patience_seconds  a submission waits this long for the execution that holds its claim, then it is parked
    details_days      days after which the details of a flagged transaction may be deleted by TTL
    """
    return {
        "Comment": "One answer per transaction, or one parked message.",
        "QueryLanguage": "JSONata",
        "StartAt": "Claim",
        "States": {
            **_claim(lease_seconds),
            **_judge(),
            **_record(details_days),
            **known_states(patience_seconds),
            **park_states(),
        },
    }


def _claim(lease_seconds: int) -> dict[str, State]:
    customer = "$type($in.customer_id) = 'string' and $length($in.customer_id) in [1..64]"
    received = expression(f"$fromMillis({STARTED})")
    unclaimed = {"token": "", "received_at": received}
    catch = park_on_error(
        "Claim",
        {"ErrorEquals": CONDITION_FAILED, "Assign": unclaimed, "Next": "Recall"},
        {
            "ErrorEquals": ["States.QueryEvaluationError"],
            "Assign": {**unclaimed, "failed": "Claim"},
            "Next": "Refuse",
        },
    )
    # The write may have been done and only its response lost: Release must know the token then too.
    catch[-1]["Assign"] |= {"token": expression(TOKEN), "received_at": received}
    return {
        "Claim": table_task(
            "updateItem",
            Arguments=update_arguments(
                expression(
                    f"({LET_INPUT} $type($in) = 'object' and {USABLE_ID} and $not({TOO_LARGE}) ? $id"
                    " : $error('this cannot be claimed'))"
                ),
                # The last way is a claim of this very run, whose response was lost.
                "attribute_not_exists(transaction_id) OR (#status = :claimed AND fingerprint = :fingerprint"
                " AND (lease_until < :now OR claim_token = :token))",
                expression(
                    f"({LET_INPUT} 'SET #status = :claimed, fingerprint = :fingerprint, claim_token = :token,"
                    " lease_until = :lease, execution = :execution, received_at = if_not_exists(received_at, :received)"
                    f"' & ({customer} ? ', customer_id = :customer' : '') & ' ADD attempts :one')"
                ),
                f"({LET_INPUT} {LET_FINGERPRINT} $merge([{{':claimed': {{'S': 'CLAIMED'}},"
                f" ':fingerprint': {{'S': $fingerprint}}, ':token': {{'S': {TOKEN}}},"
                f" ':now': {{'N': $string($millis())}}, ':lease': {{'N': $string($millis() + {lease_seconds * 1000})}},"
                f" ':execution': {{'S': {EXECUTION}}}, ':received': {{'S': $fromMillis({STARTED})}},"
                f" ':one': {{'N': '1'}}}}, {customer} ? {{':customer': {{'S': $in.customer_id}}}} : {{}}]))",
                ReturnValues="ALL_NEW",
            ),
            Assign={
                "token": expression("$states.result.Attributes.claim_token.S"),
                "received_at": expression("$states.result.Attributes.received_at.S"),
            },
            Output={},
            Next="Validate",
            Catch=catch,
        ),
        # An input that cannot be claimed: without an id it is judged for all its faults and recorded nowhere.
        "Refuse": {
            "Type": "Choice",
            "Choices": [
                {"Condition": expression(f"({LET_INPUT} {USABLE_ID} and {TOO_LARGE})"), "Next": "RecordRefusal"},
                # An id and a size like any other: it is not the input that failed.
                {"Condition": expression(f"({LET_INPUT} {USABLE_ID})"), "Next": "Park"},
                {
                    "Condition": expression(f"($in := {INPUT}; $type($in) = 'object' and $not({TOO_LARGE}))"),
                    "Next": "Validate",
                },
            ],
            "Default": "Refused",
        },
    }


def _judge() -> dict[str, State]:
    answered = "$states.result.Payload"
    fraud, compliance = "$states.input[0]", "$states.input[1]"
    return {
        "Validate": invoke_task(
            "ValidationFunction",
            INPUT,
            VALIDATE_SECONDS,
            Output=expression(
                f"($a := {answered}; $type($a.valid) = 'boolean' and ($a.valid ? $type($a.transaction) = 'object'"
                " : $count($a.faults) > 0) ? $a : $error('no verdict'))"
            ),
            Assign={"judges": expression(f"{{'validation': {judge_of(answered)}}}")},
            Next="Valid",
            Catch=park_on_error("Validate", unbounded=True),
        ),
        "Valid": {
            "Type": "Choice",
            "Choices": [
                {
                    "Condition": expression("$states.input.valid and $token != ''"),
                    "Output": expression("$states.input.transaction"),
                    "Next": "Assess",
                },
                {
                    "Condition": expression("$token != ''"),
                    "Output": expression(f"{{{answer_fields('REJECTED')}, 'reasons': {FAULTS}}}"),
                    "Next": "Record",
                },
            ],
            "Default": "Refused",
        },
        "Assess": {
            "Type": "Parallel",
            "Branches": [
                _branch(
                    "FraudDetection",
                    "FraudFunction",
                    "$type($a.score) = 'number' and $a.score >= 0 and $a.score <= 100 and $type($a.reasons) = 'array'",
                ),
                _branch(
                    "Compliance",
                    "ComplianceFunction",
                    "$type($a.compliant) = 'boolean' and $type($a.findings) = 'array'"
                    " and $count($a.findings) = $count($a.findings[action in ['BLOCK', 'REVIEW', 'REPORT']])",
                ),
            ],
            "Next": "Decide",
            "Catch": [
                {
                    "ErrorEquals": ["States.ALL"],
                    # The branch's own Fail state put its task's name before the cause.
                    "Assign": {
                        "failed": expression(
                            "($task := $substringBefore($string($states.errorOutput.Cause), ': ');"
                            " $task in ['FraudDetection', 'Compliance'] ? $task : 'Assess')"
                        )
                    },
                    "Next": "Park",
                }
            ],
        },
        "Decide": {
            "Type": "Pass",
            # Only a clean verdict approves: "not compliant" declines even when no finding says why.
            "Output": expression(
                f"($fraud := {fraud}; $compliance := {compliance}; $actions := [$compliance.findings.action];"
                " $outcome := $not($compliance.compliant) or 'BLOCK' in $actions or $fraud.score >= 80 ? 'DECLINED'"
                " : $fraud.score >= 50 or 'REVIEW' in $actions ? 'REVIEW' : 'APPROVED';"
                f" {{{answer_fields('$outcome')}, 'score': $fraud.score, 'reasons': ["
                f" $fraud.reasons.{{'source': '{FRAUD}', 'rule': rule, 'points': points, 'message': message}},"
                f" $compliance.findings.{{'source': '{COMPLIANCE}', 'rule': rule, 'action': action,"
                " 'message': message}]})"
            ),
            "Assign": {
                "judges": expression(
                    f"$merge([$judges, {{'fraud': {judge_of(fraud)}, 'compliance': {judge_of(compliance)}}}])"
                )
            },
            "Next": "Record",
        },
        "Refused": {
            "Type": "Pass",
            "Output": expression(
                f"({LET_INPUT} $faults := {FAULTS}; {{{answer_fields('REJECTED', f'({USABLE_ID} ? $id : null)')},"
                f" 'reasons': $count($faults) > 0 ? $faults : {TOO_LARGE} ? [{REFUSED_TOO_LARGE}]"
                f" : $type($in) = 'object' ? [{NO_USABLE_ID}] : [{NOT_AN_OBJECT}]}})"
            ),
            "Next": "Answered",
        },
    }


def _branch(task: str, function: str, checked: str) -> State:
    failed = {"Next": f"{task}Failed"}
    return {
        "StartAt": task,
        "States": {
            task: invoke_task(
                function,
                "$states.input",
                ASSESS_SECONDS,
                Output=expression(f"($a := $states.result.Payload; {checked} ? $a : $error('no verdict'))"),
                Catch=[
                    {"ErrorEquals": ["States.DataLimitExceeded"], **failed},
                    {"ErrorEquals": ["States.ALL"], **failed},
                ],
                End=True,
            ),
            # A Parallel does not tell which branch failed, so the branch does.
            f"{task}Failed": {
                "Type": "Fail",
                "Error": expression("$states.input.Error"),
                "Cause": expression(f"'{task}: ' & $substring($string($states.input.Cause), 0, 4000)"),
            },
        },
    }


def _record(details_days: int) -> dict[str, State]:
    refused = f"{{{answer_fields('REJECTED', at='$received_at')}, 'reasons': [{REFUSED_TOO_LARGE}]}}"
    return {
        "Record": table_task(
            "updateItem",
            Arguments=update_arguments(
                expression("$states.input.transaction_id"),
                # Fencing: who lost the claim cannot answer. The same answer again is a write whose response was lost.
                "claim_token = :token AND (#status = :claimed OR answer = :answer)",
                "SET #status = :decided, outcome = :outcome, decided_at = :at, answer = :answer, judges = :judges"
                " REMOVE lease_until",
                "{':token': {'S': $token}, ':claimed': {'S': 'CLAIMED'}, ':decided': {'S': 'DECIDED'},"
                " ':outcome': {'S': $states.input.outcome}, ':at': {'S': $states.input.decided_at},"
                " ':answer': {'S': $string($states.input)}, ':judges': {'S': $string($judges)}}",
            ),
            Output=expression("$states.input"),
            Next="Flagged",
            Catch=park_on_error("Record", {"ErrorEquals": CONDITION_FAILED, "Next": "Recall"}),
        ),
        # What is refused for its size needs no judge, so the claim and the decision are one write; and its answer is
        # known, so it is given even when it cannot be recorded.
        "RecordRefusal": table_task(
            "updateItem",
            Arguments=update_arguments(
                expression(f"{INPUT}.transaction_id"),
                "attribute_not_exists(transaction_id)",
                "SET #status = :decided, fingerprint = :fingerprint, execution = :execution, received_at = :at,"
                " outcome = :outcome, decided_at = :at, answer = :answer",
                f"({LET_INPUT} {LET_FINGERPRINT} {{':decided': {{'S': 'DECIDED'}}, ':outcome': {{'S': 'REJECTED'}},"
                f" ':fingerprint': {{'S': $fingerprint}}, ':execution': {{'S': {EXECUTION}}},"
                f" ':at': {{'S': $received_at}}, ':answer': {{'S': $string({refused})}}}})",
            ),
            Output=expression(refused),
            Next="Answered",
            Catch=[
                {"ErrorEquals": CONDITION_FAILED, "Next": "Recall"},
                {"ErrorEquals": ["States.ALL"], "Next": "Refused"},
            ],
        ),
        # Repeats come here too: to try a refused payment again is suspicious, and an alert that could not be sent is
        # sent when its parked message is redriven.
        "Flagged": {
            "Type": "Choice",
            "Choices": [
                {"Condition": expression("$states.input.outcome in ['REVIEW', 'DECLINED']"), "Next": "KeepDetails"},
            ],
            "Default": "Answered",
        },
        # TTL deletes whole items, so what may expire has an item of its own; the decision has no expiry.
        "KeepDetails": table_task(
            "putItem",
            Arguments={
                "TableName": "${Table}",
                "Item": expression(
                    f"{{'transaction_id': {{'S': '{DETAILS_PREFIX}' & $states.input.transaction_id}},"
                    f" 'transaction': {{'S': $string({INPUT})}}, 'execution': {{'S': {EXECUTION}}},"
                    f" 'expires_at': {{'N': $string($floor($millis() / 1000) + {details_days * 86_400})}}}}"
                ),
            },
            Output=expression("$states.input"),
            Next="Alert",
            Catch=park_on_error("KeepDetails"),
        ),
        "Alert": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sns:publish",
            "Arguments": {
                "TopicArn": "${AlertTopic}",
                "Message": expression(
                    f"$string($merge([$states.input, {{'execution': {EXECUTION}, 'received_at': $received_at}}]))"
                ),
                "MessageAttributes": {
                    "outcome": {"DataType": "String", "StringValue": expression("$states.input.outcome")},
                },
            },
            "TimeoutSeconds": SERVICE_SECONDS,
            # An alert may come twice, so every refusal is tried again; names of SNS errors are not documented.
            "Retry": retry(["States.TaskFailed"], attempts=2),
            "Output": expression("$states.input"),
            "Next": "Answered",
            "Catch": park_on_error("Alert"),
        },
        "Answered": {"Type": "Succeed"},
    }
