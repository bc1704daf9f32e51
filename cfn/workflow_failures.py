"""The ways off the straight road: a transaction that is known already, and a submission that has to be parked."""

from __future__ import annotations

from cfn.workflow_expressions import (
    EXECUTION,
    INPUT,
    LET_FINGERPRINT,
    LET_INPUT,
    NOW,
    OTHER_PAYLOAD,
    PARKED_CUSTOMER,
    PARKED_MAX_CHARACTERS,
    PARKED_PREFIX,
    POLL_SECONDS,
    STARTED,
    answer_fields,
    expression,
)
from cfn.workflow_tasks import SERVICE_SECONDS, TABLE_SECONDS, State, park_on_error, table_task, update_arguments


def known_states(patience_seconds: float) -> dict[str, State]:
    return {
        # The claim was refused, or lost before the answer was recorded: what does the record say?
        "Recall": table_task(
            "getItem",
            Arguments={
                "TableName": "${Table}",
                "Key": {"transaction_id": {"S": expression(f"{INPUT}.transaction_id")}},
                "ConsistentRead": True,
            },
            Output=expression(
                f"($item := $states.result.Item; {LET_INPUT} {LET_FINGERPRINT} {{"
                " 'found': $exists($item), 'same': $item.fingerprint.S = $fingerprint, 'status': $item.status.S,"
                " 'received_at': $item.received_at.S, 'answer': $exists($item.answer) ? $parse($item.answer.S),"
                " 'expired': $exists($item.lease_until) and $number($item.lease_until.N) < $millis()})"
            ),
            Next="Known",
            Catch=park_on_error("Recall"),
        ),
        "Known": {
            "Type": "Choice",
            "Choices": [
                {
                    "Condition": expression("$states.input.found and $not($states.input.same)"),
                    "Output": expression(f"{{{answer_fields('CONFLICT')}, 'reasons': [{OTHER_PAYLOAD}]}}"),
                    "Next": "Alert",
                },
                {
                    "Condition": expression("$states.input.status = 'DECIDED'"),
                    "Output": expression("$merge([$states.input.answer, {'repeat': true}])"),
                    "Next": "Flagged",
                },
                # A parked message asks again later, when the other execution has answered or its lease is over.
                {
                    "Condition": expression(f"$millis() - {STARTED} >= {int(patience_seconds * 1000)}"),
                    "Output": {"Error": "TransactionInProgress", "Cause": "another execution holds the claim"},
                    "Assign": {"failed": "Known"},
                    "Next": "Park",
                },
                {"Condition": expression("$not($states.input.found) or $states.input.expired"), "Next": "Claim"},
            ],
            "Default": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": POLL_SECONDS, "Next": "Recall"},
    }


def park_states() -> dict[str, State]:
    same = expression("$states.input")
    message = (
        f"($in := {INPUT}; $merge([{{'state': $failed, 'error': $states.input.Error,"
        " 'cause': $substring($string($states.input.Cause), 0, 4000),"
        f" 'execution': {EXECUTION}, 'parked_at': {NOW}}},"
        f" $length($string($in)) <= {PARKED_MAX_CHARACTERS} ? {{'input': $in}}"
        " : {'excerpt': $substring($string($in), 0, 1000)}]))"
    )
    told = expression(
        "$string({'state': $failed, 'error': $states.input.Error,"
        " 'cause': $substring($string($states.input.Cause), 0, 4000)})"
    )
    return {
        "Park": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage",
            "Arguments": {"QueueUrl": "${DeadLetterQueue}", "MessageBody": expression(message)},
            "TimeoutSeconds": SERVICE_SECONDS,
            # Never sent twice: an error does not tell whether the queue has the message. It is noted in the table under
            # the same execution's name instead, and who redrives sees one parked submission.
            "Output": same,
            "Next": "Release",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": same, "Next": "ParkInTable"}],
        },
        # The queue is down: the table keeps the message, where the index finds it.
        "ParkInTable": table_task(
            "putItem",
            Arguments={
                "TableName": "${Table}",
                "Item": expression(
                    f"{{'transaction_id': {{'S': '{PARKED_PREFIX}' & {EXECUTION}}},"
                    f" 'customer_id': {{'S': '{PARKED_CUSTOMER}'}}, 'received_at': {{'S': $received_at}},"
                    f" 'message': {{'S': $string({message})}}}}"
                ),
            },
            Output=same,
            Next="Release",
            Catch=[{"ErrorEquals": ["States.ALL"], "Output": same, "Next": "NotParked"}],
        ),
        # So that a redrive need not wait for the lease. Best effort: without it, the lease runs out by itself.
        "Release": {
            "Type": "Task",
            "Resource": "arn:aws:states:::dynamodb:updateItem",
            "TimeoutSeconds": TABLE_SECONDS,
            "Arguments": update_arguments(
                expression(f"$token != '' ? {INPUT}.transaction_id : $error('no claim')"),
                "claim_token = :token AND #status = :claimed",
                "SET lease_until = :zero, parked_at = :at, parked_error = :error",
                "{':token': {'S': $token}, ':claimed': {'S': 'CLAIMED'}, ':zero': {'N': '0'},"
                f" ':at': {{'S': {NOW}}}, ':error': {{'S': $failed & ': ' & $states.input.Error}}}}",
            ),
            "Output": same,
            "Next": "Parked",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": same, "Next": "Parked"}],
        },
        "Parked": {"Type": "Fail", "Error": "Parked", "Cause": told},
        "NotParked": {"Type": "Fail", "Error": "NotParked", "Cause": told},
    }
