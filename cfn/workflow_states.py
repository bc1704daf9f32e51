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

from collections.abc import Mapping, Sequence
from typing import Any

State = dict[str, Any]

VALIDATION, FRAUD, COMPLIANCE = "transaction-validation", "fraud-detection", "compliance-checking"
CALLED_FUNCTIONS = (VALIDATION, FRAUD, COMPLIANCE)

# What ``${…}`` in the definition stands for.
SUBSTITUTIONS = (
    "Partition",
    "Table",
    "AlertTopic",
    "DeadLetterQueue",
    "ValidationFunction",
    "FraudFunction",
    "ComplianceFunction",
)

# Characters of a transaction as compact JSON. Far above any real one, far below what a state, a message, an item and
# one second of JSONata evaluation can take, so nothing after Claim has to think about size again.
TRANSACTION_MAX_CHARACTERS = 16_384
# Characters of an input that a parked message can carry whole: each may need 4 bytes, a task takes 262,144 bytes.
PARKED_MAX_CHARACTERS = 60_000

# A claim outlives the longest execution: EXPRESS ends every execution after 300 s (Step Functions quotas).
LEASE_SECONDS = 300
# How long a submission waits for another execution that holds the claim, before it is parked.
PATIENCE_SECONDS = 15
POLL_SECONDS = 2
DETAILS_DAYS = 90

# Keys of records that are not transactions; an id of a transaction cannot contain "#".
DETAILS_PREFIX, PARKED_PREFIX = "details#", "parked#"
# The partition of the index "customer" under which parked records are found.
PARKED_CUSTOMER = "#parked"

# TimeoutSeconds of one attempt. With every retry and wait the longest way stays below the 300 s of EXPRESS, which
# ``cfn.workflow_limits`` computes from the definition itself.
VALIDATE_SECONDS, ASSESS_SECONDS, SERVICE_SECONDS, TABLE_SECONDS = 6, 12, 3, 2

LAMBDA_ERRORS = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
)


def dynamodb_errors(*names: str) -> list[str]:
    """Both spellings: the optimised integration says ``DynamoDB.…``, the SDK integration ``DynamoDb.…``."""
    return [f"{prefix}.{name}" for name in names for prefix in ("DynamoDB", "DynamoDb")]


CONDITION_FAILED = dynamodb_errors("ConditionalCheckFailedException")
DYNAMODB_ERRORS = dynamodb_errors(
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "InternalServerError",
    "TransactionConflictException",
)


def _is(text: str) -> str:
    """A JSONata expression as the States Language writes it, without the line breaks it has here."""
    return "{% " + " ".join(text.split()) + " %}"


INPUT = "$states.context.Execution.Input"
# Who holds a claim: one run of one execution. Two runs of one execution (EXPRESS runs at least once) enter the state at
# different times; should they not, Record still lets only one answer stand.
TOKEN = "$states.context.Execution.Name & '@' & $states.context.State.EnteredTime"  # noqa: S105 - a fencing token
STARTED = "$toMillis($states.context.Execution.StartTime)"

_USABLE_ID = (
    f"$type({INPUT}) = 'object' and $type({INPUT}.transaction_id) = 'string'"
    f" and $length({INPUT}.transaction_id) > 0 and $length({INPUT}.transaction_id) <= 64"
    f" and $not($contains({INPUT}.transaction_id, /[^A-Za-z0-9._:-]/))"
)
_TOO_LARGE = f"$length($string({INPUT})) > {TRANSACTION_MAX_CHARACTERS}"

# The fingerprint of a payload: SHA-256 of a text that has the keys of every object in order, so that two spellings of
# one payload are one payload. Below 32 levels, and for what is too large anyway, the text is the input as it stands.
# It is hashed in pieces, since the hash function of the States Language takes 10,000 characters (Step Functions guide).
_FINGERPRINT = f"""
$canonical := function($v, $d) {{
  $d > 32 ? $string([$v])
  : $type($v) = 'object' ? '{{' & $join($sort($keys($v)).($string([$]) & $canonical($lookup($v, $), $d + 1)), ',') & '}}'
  : $type($v) = 'array' ? '[' & $join($map($v, function($i) {{ $canonical($i, $d + 1) }}), ',') & ']'
  : $string([$v]) }};
$text := {_TOO_LARGE} ? $string({INPUT}) : $canonical({INPUT}, 0);
$fingerprint := $hash($join([0..$floor($length($text) / 9000)].$hash($substring($text, $ * 9000, 9000), 'SHA-256')),
  'SHA-256');
"""

# What is wrong with an input that no judge was asked about.
_REFUSAL = f"""
{{'source': 'workflow', 'rule': {_TOO_LARGE} ? 'too-large' : $type({INPUT}) = 'object' ? 'no-usable-id' : 'not-an-object',
  'message': {_TOO_LARGE} ? 'a transaction has at most {TRANSACTION_MAX_CHARACTERS} characters'
  : $type({INPUT}) = 'object' ? 'transaction_id is 1 to 64 of A-Z a-z 0-9 . _ : -' : 'a transaction is a JSON object'}}
"""
_FAULTS = f"""
[$states.input.faults.{{'source': '{VALIDATION}', 'rule': code, 'field': field, 'message': message}}]
"""


def _answer(outcome: str, decided_at: str = "$fromMillis($millis())") -> str:
    """The fields that every answer has; ``outcome`` is a name or a variable."""
    value = outcome if outcome.startswith("$") else f"'{outcome}'"
    return f"'transaction_id': {INPUT}.transaction_id, 'outcome': {value}, 'repeat': false, 'decided_at': {decided_at}"


def _judge_of(answered: str) -> str:
    """Who judged, for the record: the digest of the function's image and the version of its rules."""
    return f"{{'image': {answered}.image, 'rules': {answered}.rules}}"


def _retry(errors: Sequence[str]) -> list[State]:
    return [
        {
            "ErrorEquals": list(errors),
            "IntervalSeconds": 2,
            "MaxAttempts": 3,
            "BackoffRate": 2.0,
            "JitterStrategy": "FULL",
        }
    ]


def _failure(state: str) -> str:
    """What is known of a caught error: the value that Park takes."""
    return _is(
        f"{{'state': '{state}', 'error': $string($states.errorOutput.Error),"
        " 'cause': $substring($string($states.errorOutput.Cause), 0, 4000)}"
    )


def _park(state: str, *first: State, assign: Mapping[str, str] | None = None, unbounded: bool = False) -> list[State]:
    """Catchers that end in Park, after those of ``first``. ``unbounded``: the result may be larger than a state."""
    rest: State = {"Output": _failure(state), "Next": "Park"}
    if assign:
        rest["Assign"] = dict(assign)
    named = [{"ErrorEquals": ["States.DataLimitExceeded"], **rest}] if unbounded else []
    return [*first, *named, {"ErrorEquals": ["States.ALL"], **rest}]


def _dynamodb(action: str, **fields: Any) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:${{Partition}}:states:::dynamodb:{action}",
        "TimeoutSeconds": TABLE_SECONDS,
        "Retry": _retry(DYNAMODB_ERRORS),
        **fields,
    }


def _invoke(function: str, transaction: str, seconds: int, **fields: Any) -> State:
    return {
        "Type": "Task",
        "Resource": "arn:${Partition}:states:::lambda:invoke",
        "Arguments": {
            "FunctionName": f"${{{function}}}",
            "Payload": {
                "transaction": _is(transaction),
                "received_at": _is("$received_at"),
                "execution": _is("$states.context.Execution.Name"),
            },
        },
        "TimeoutSeconds": seconds,
        "Retry": _retry(LAMBDA_ERRORS),
        **fields,
    }


def definition(
    *,
    lease_seconds: int = LEASE_SECONDS,
    patience_seconds: int = PATIENCE_SECONDS,
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
            **_known(patience_seconds),
            **_park_states(),
        },
    }


def _claim(lease_seconds: int) -> dict[str, State]:
    received = f"$fromMillis({STARTED})"
    customer = f"$type({INPUT}.customer_id) = 'string' and $length({INPUT}.customer_id) in [1..64]"
    # Also when the write was done and only its response was lost, Release must know the token.
    assign = {"token": _is(TOKEN), "received_at": _is(received)}
    unclaimed = {"token": "", "received_at": _is(received)}
    return {
        "Claim": _dynamodb(
            "updateItem",
            Arguments={
                "TableName": "${Table}",
                "Key": _is(
                    f"({_USABLE_ID} and $not({_TOO_LARGE})) ? {{'transaction_id': {{'S': {INPUT}.transaction_id}}}}"
                    " : $error('this is not a transaction that can be claimed')"
                ),
                # The last way is a claim of this very run, whose response was lost.
                "ConditionExpression": "attribute_not_exists(transaction_id) OR (#status = :claimed AND "
                "fingerprint = :fingerprint AND (lease_until < :now OR claim_token = :token))",
                "UpdateExpression": _is(
                    "'SET #status = :claimed, fingerprint = :fingerprint, claim_token = :token, lease_until = :lease,"
                    " execution = :execution, received_at = if_not_exists(received_at, :received)'"
                    f" & ({customer} ? ', customer_id = :customer' : '') & ' ADD attempts :one'"
                ),
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": _is(
                    f"({_FINGERPRINT} $merge([{{"
                    " ':claimed': {'S': 'CLAIMED'}, ':fingerprint': {'S': $fingerprint},"
                    f" ':token': {{'S': {TOKEN}}}, ':now': {{'N': $string($millis())}},"
                    f" ':lease': {{'N': $string($millis() + {lease_seconds * 1000})}},"
                    f" ':execution': {{'S': $states.context.Execution.Name}}, ':received': {{'S': {received}}},"
                    " ':one': {'N': '1'} },"
                    f" {customer} ? {{':customer': {{'S': {INPUT}.customer_id}}}} : {{}}]))"
                ),
                "ReturnValues": "ALL_NEW",
            },
            Assign={
                "token": _is("$states.result.Attributes.claim_token.S"),
                "received_at": _is("$states.result.Attributes.received_at.S"),
            },
            Output={},
            Next="Validate",
            Catch=_park(
                "Claim",
                {"ErrorEquals": CONDITION_FAILED, "Assign": unclaimed, "Next": "Recall"},
                {
                    "ErrorEquals": ["States.QueryEvaluationError"],
                    "Assign": unclaimed,
                    "Output": _failure("Claim"),
                    "Next": "Refuse",
                },
                assign=assign,
            ),
        ),
        # An input that cannot be claimed: without an id it is judged for all its faults and recorded nowhere.
        "Refuse": {
            "Type": "Choice",
            "Choices": [
                {"Condition": _is(f"{_USABLE_ID} and {_TOO_LARGE}"), "Next": "RecordRefusal"},
                # An id and a size like any other: it is not the input that failed.
                {"Condition": _is(_USABLE_ID), "Next": "Park"},
                {"Condition": _is(f"$type({INPUT}) = 'object' and $not({_TOO_LARGE})"), "Next": "Validate"},
            ],
            "Default": "Refused",
        },
    }


def _judge() -> dict[str, State]:
    answered = "$states.result.Payload"
    fraud, compliance = "$states.input[0]", "$states.input[1]"
    return {
        "Validate": _invoke(
            "ValidationFunction",
            INPUT,
            VALIDATE_SECONDS,
            Output=_is(
                f"$type({answered}.valid) = 'boolean' and ({answered}.valid ? $type({answered}.transaction) = 'object'"
                f" : $count({answered}.faults) > 0) ? {answered} : $error('the validation gave no verdict')"
            ),
            Assign={"judges": _is(f"{{'validation': {_judge_of(answered)}}}")},
            Next="Valid",
            Catch=_park("Validate", unbounded=True),
        ),
        "Valid": {
            "Type": "Choice",
            "Choices": [
                {
                    "Condition": _is("$states.input.valid and $token != ''"),
                    "Output": _is("$states.input.transaction"),
                    "Next": "Assess",
                },
                {
                    "Condition": _is("$token != ''"),
                    "Output": _is(f"{{{_answer('REJECTED')}, 'reasons': {_FAULTS}}}"),
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
                    f"$type({answered}.score) = 'number' and {answered}.score >= 0 and {answered}.score <= 100"
                    f" and $type({answered}.reasons) = 'array'",
                ),
                _branch(
                    "Compliance",
                    "ComplianceFunction",
                    f"$type({answered}.compliant) = 'boolean' and $type({answered}.findings) = 'array' and $count("
                    f"{answered}.findings[action in ['BLOCK', 'REVIEW', 'REPORT']]) = $count({answered}.findings)",
                ),
            ],
            "Next": "Decide",
            "Catch": [
                {
                    "ErrorEquals": ["States.ALL"],
                    # The branch's own Fail state put its task's name before the cause.
                    "Output": _is(
                        "($cause := $string($states.errorOutput.Cause); $task := $substringBefore($cause, ': ');"
                        " $known := $task in ['FraudDetection', 'Compliance']; {"
                        " 'state': $known ? $task : 'Assess', 'error': $string($states.errorOutput.Error),"
                        " 'cause': $substring($known ? $substringAfter($cause, ': ') : $cause, 0, 4000)})"
                    ),
                    "Next": "Park",
                }
            ],
        },
        "Decide": {
            "Type": "Pass",
            # Only a clean verdict approves: "not compliant" declines even when no finding says why.
            "Output": _is(
                f"($fraud := {fraud}; $compliance := {compliance}; $actions := [$compliance.findings.action];"
                " $outcome := $not($compliance.compliant) or 'BLOCK' in $actions or $fraud.score >= 80 ? 'DECLINED'"
                " : $fraud.score >= 50 or 'REVIEW' in $actions ? 'REVIEW' : 'APPROVED';"
                f" {{{_answer('$outcome')}, 'score': $fraud.score, 'reasons': ["
                f" $fraud.reasons.{{'source': '{FRAUD}', 'rule': rule, 'points': points, 'message': message}},"
                f" $compliance.findings.{{'source': '{COMPLIANCE}', 'rule': rule, 'action': action,"
                " 'message': message}]})"
            ),
            "Assign": {
                "judges": _is(
                    f"$merge([$judges, {{'fraud': {_judge_of(fraud)}, 'compliance': {_judge_of(compliance)}}}])"
                )
            },
            "Next": "Record",
        },
        "Refused": {
            "Type": "Pass",
            "Output": _is(
                f"{{'transaction_id': {_USABLE_ID} ? {INPUT}.transaction_id : null, 'outcome': 'REJECTED',"
                " 'repeat': false, 'decided_at': $fromMillis($millis()), 'reasons':"
                f" $count($states.input.faults) > 0 ? {_FAULTS} : [{_REFUSAL}]}}"
            ),
            "Next": "Answered",
        },
    }


def _branch(task: str, function: str, checked: str) -> State:
    answered = "$states.result.Payload"
    failed = {
        "Output": _is("{'error': $string($states.errorOutput.Error), 'cause': $string($states.errorOutput.Cause)}"),
        "Next": f"{task}Failed",
    }
    return {
        "StartAt": task,
        "States": {
            task: _invoke(
                function,
                "$states.input",
                ASSESS_SECONDS,
                Output=_is(f"{checked} ? {answered} : $error('{task} gave no verdict')"),
                Catch=[
                    {"ErrorEquals": ["States.DataLimitExceeded"], **failed},
                    {"ErrorEquals": ["States.ALL"], **failed},
                ],
                End=True,
            ),
            # A Parallel does not tell which branch failed, so the branch does.
            f"{task}Failed": {
                "Type": "Fail",
                "Error": _is("$states.input.error"),
                "Cause": _is(f"'{task}: ' & $substring($states.input.cause, 0, 4000)"),
            },
        },
    }


def _record(details_days: int) -> dict[str, State]:
    refusal = f"{{{_answer('REJECTED', decided_at='$received_at')}, 'reasons': [{_REFUSAL}]}}"
    return {
        "Record": _dynamodb(
            "updateItem",
            Arguments={
                "TableName": "${Table}",
                "Key": {"transaction_id": {"S": _is("$states.input.transaction_id")}},
                # Fencing: who lost the claim cannot answer. The same answer again is a write whose response was lost.
                "ConditionExpression": "claim_token = :token AND (#status = :claimed OR answer = :answer)",
                "UpdateExpression": "SET #status = :decided, outcome = :outcome, decided_at = :at, answer = :answer,"
                " judges = :judges REMOVE lease_until",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": _is(
                    "{':token': {'S': $token}, ':claimed': {'S': 'CLAIMED'}, ':decided': {'S': 'DECIDED'},"
                    " ':outcome': {'S': $states.input.outcome}, ':at': {'S': $states.input.decided_at},"
                    " ':answer': {'S': $string($states.input)}, ':judges': {'S': $string($judges)}}"
                ),
            },
            Output=_is("$states.input"),
            Next="Flagged",
            Catch=_park("Record", {"ErrorEquals": CONDITION_FAILED, "Next": "Recall"}),
        ),
        # What is refused for its size needs no judge, so the claim and the decision are one write.
        "RecordRefusal": _dynamodb(
            "updateItem",
            Arguments={
                "TableName": "${Table}",
                "Key": {"transaction_id": {"S": _is(f"{INPUT}.transaction_id")}},
                "ConditionExpression": "attribute_not_exists(transaction_id)",
                "UpdateExpression": "SET #status = :decided, fingerprint = :fingerprint, execution = :execution,"
                " received_at = :at, outcome = :outcome, decided_at = :at, answer = :answer",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": _is(
                    f"({_FINGERPRINT} {{':decided': {{'S': 'DECIDED'}}, ':fingerprint': {{'S': $fingerprint}},"
                    " ':execution': {'S': $states.context.Execution.Name}, ':outcome': {'S': 'REJECTED'},"
                    f" ':at': {{'S': $received_at}}, ':answer': {{'S': $string({refusal})}}}})"
                ),
            },
            Output=_is(refusal),
            Next="Answered",
            Catch=_park("RecordRefusal", {"ErrorEquals": CONDITION_FAILED, "Next": "Recall"}),
        ),
        # Repeats come here too: to try a refused payment again is suspicious, and an alert that could not be sent is
        # sent when its parked message is redriven.
        "Flagged": {
            "Type": "Choice",
            "Choices": [
                {"Condition": _is("$states.input.outcome in ['REVIEW', 'DECLINED']"), "Next": "KeepDetails"},
            ],
            "Default": "Answered",
        },
        # TTL deletes whole items, so what may expire has an item of its own; the decision has no expiry.
        "KeepDetails": _dynamodb(
            "putItem",
            Arguments={
                "TableName": "${Table}",
                "Item": _is(
                    f"{{'transaction_id': {{'S': '{DETAILS_PREFIX}' & $states.input.transaction_id}},"
                    f" 'transaction': {{'S': $string({INPUT})}}, 'execution': {{'S': $states.context.Execution.Name}},"
                    f" 'expires_at': {{'N': $string($floor($millis() / 1000) + {details_days * 86_400})}}}}"
                ),
            },
            Output=_is("$states.input"),
            Next="Alert",
            Catch=_park("KeepDetails"),
        ),
        "Alert": {
            "Type": "Task",
            "Resource": "arn:${Partition}:states:::sns:publish",
            "Arguments": {
                "TopicArn": "${AlertTopic}",
                "Message": _is(
                    "$string($merge([$states.input, {'execution': $states.context.Execution.Name,"
                    " 'received_at': $received_at}]))"
                ),
                "MessageAttributes": {
                    "outcome": {"DataType": "String", "StringValue": _is("$states.input.outcome")},
                },
            },
            "TimeoutSeconds": SERVICE_SECONDS,
            # An alert may come twice, so every refusal is tried again; names of SNS errors are not documented.
            "Retry": _retry(["States.TaskFailed"]),
            "Output": _is("$states.input"),
            "Next": "Answered",
            "Catch": _park("Alert"),
        },
        "Answered": {"Type": "Succeed"},
    }


def _known(patience_seconds: int) -> dict[str, State]:
    return {
        # The claim was refused, or lost before the answer was recorded: what does the record say?
        "Recall": _dynamodb(
            "getItem",
            Arguments={
                "TableName": "${Table}",
                "Key": {"transaction_id": {"S": _is(f"{INPUT}.transaction_id")}},
                "ConsistentRead": True,
            },
            Output=_is(
                f"($item := $states.result.Item; {_FINGERPRINT} {{"
                " 'found': $exists($item), 'same': $item.fingerprint.S = $fingerprint, 'status': $item.status.S,"
                " 'received_at': $item.received_at.S, 'answer': $exists($item.answer) ? $parse($item.answer.S),"
                " 'expired': $exists($item.lease_until) and $number($item.lease_until.N) < $millis()})"
            ),
            Next="Known",
            Catch=_park("Recall"),
        ),
        "Known": {
            "Type": "Choice",
            "Choices": [
                {
                    "Condition": _is("$states.input.found and $not($states.input.same)"),
                    "Output": _is(
                        f"{{{_answer('CONFLICT')}, 'reasons': [{{'source': 'workflow', 'rule': 'different-payload',"
                        " 'message': 'another payload was submitted under this id at ' & $states.input.received_at}]}"
                    ),
                    "Next": "Alert",
                },
                {
                    "Condition": _is("$states.input.status = 'DECIDED'"),
                    "Output": _is("$merge([$states.input.answer, {'repeat': true}])"),
                    "Next": "Flagged",
                },
                # A parked message asks again later, when the other execution has answered or its lease is over.
                {
                    "Condition": _is(f"$millis() - {STARTED} >= {patience_seconds * 1000}"),
                    "Output": {
                        "state": "Known",
                        "error": "TransactionInProgress",
                        "cause": "another execution holds the claim",
                    },
                    "Next": "Park",
                },
                {"Condition": _is("$not($states.input.found) or $states.input.expired"), "Next": "Claim"},
            ],
            "Default": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": POLL_SECONDS, "Next": "Recall"},
    }


def _park_states() -> dict[str, State]:
    failure = "$states.input"
    message = (
        f"$merge([{failure}, {{'execution': $states.context.Execution.Name, 'parked_at': $fromMillis($millis())}},"
        f" $type({INPUT}.transaction_id) = 'string' ?"
        f" {{'transaction_id': $substring({INPUT}.transaction_id, 0, 64)}} : {{}},"
        f" $length($string({INPUT})) <= {PARKED_MAX_CHARACTERS} ? {{'input': {INPUT}}}"
        f" : {{'excerpt': $substring($string({INPUT}), 0, 1000)}}])"
    )
    told = "$string({'state': $states.input.state, 'error': $states.input.error, 'cause': $states.input.cause})"
    return {
        "Park": {
            "Type": "Task",
            "Resource": "arn:${Partition}:states:::sqs:sendMessage",
            "Arguments": {"QueueUrl": "${DeadLetterQueue}", "MessageBody": _is(message)},
            "TimeoutSeconds": SERVICE_SECONDS,
            # A refused message is not in the queue. One that timed out may be, so it is not sent again but noted in the
            # table, under the same execution's name: who redrives sees one parked submission.
            "Retry": _retry(["States.TaskFailed"]),
            "Output": _is(failure),
            "Next": "Release",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": _is(failure), "Next": "ParkInTable"}],
        },
        # The queue is down: the table keeps the message, where the index finds it.
        "ParkInTable": _dynamodb(
            "putItem",
            Arguments={
                "TableName": "${Table}",
                "Item": _is(
                    f"{{'transaction_id': {{'S': '{PARKED_PREFIX}' & $states.context.Execution.Name}},"
                    f" 'customer_id': {{'S': '{PARKED_CUSTOMER}'}}, 'received_at': {{'S': $received_at}},"
                    f" 'message': {{'S': $string({message})}}}}"
                ),
            },
            Output=_is(failure),
            Next="Release",
            Catch=[{"ErrorEquals": ["States.ALL"], "Output": _is(failure), "Next": "NotParked"}],
        ),
        # So that a redrive need not wait for the lease. Best effort: without it, the lease runs out by itself.
        "Release": {
            **_dynamodb(
                "updateItem",
                Arguments={
                    "TableName": "${Table}",
                    "Key": {
                        "transaction_id": {"S": _is(f"$token != '' ? {INPUT}.transaction_id : $error('no claim')")}
                    },
                    "ConditionExpression": "claim_token = :token AND #status = :claimed",
                    "UpdateExpression": "SET lease_until = :zero, parked_at = :at, parked_error = :error",
                    "ExpressionAttributeNames": {"#status": "status"},
                    "ExpressionAttributeValues": _is(
                        "{':token': {'S': $token}, ':claimed': {'S': 'CLAIMED'}, ':zero': {'N': '0'},"
                        " ':at': {'S': $fromMillis($millis())},"
                        " ':error': {'S': $states.input.state & ': ' & $states.input.error}}"
                    ),
                },
                Output=_is(failure),
                Next="Parked",
                Catch=[{"ErrorEquals": ["States.ALL"], "Output": _is(failure), "Next": "Parked"}],
            ),
            "Retry": [],
        },
        "Parked": {"Type": "Fail", "Error": "Parked", "Cause": _is(told)},
        "NotParked": {"Type": "Fail", "Error": "NotParked", "Cause": _is(told)},
    }
