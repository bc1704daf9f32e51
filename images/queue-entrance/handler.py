"""Lambda entry point of queue-entrance: runs the workflow for messages of a queue, and publishes the results.

A message is deleted once its transaction is answered or parked and its result is published; every other one is reported
as failed, and stays in the queue. Deliveries are at least once, and so are results.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from batches import Kept, Message, Result, entries, held_up, in_sequences
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from transactions.invocation import LambdaContext, logger, place_of
from transactions.submission import DEADLINE_SECONDS, THROTTLED, End, Ended, workflow_options

# Of an event source mapping's batch, and of PublishBatch.
BATCH_MAX = 10
# What publishing takes at most, with its second attempt.
PUBLISHING_SECONDS = 10
# Seconds before the second, third and fourth attempt of what Step Functions throttles, at most.
_PAUSES = (0.2, 0.8, 3.2)

_SESSION = Session()
_WORKFLOW = _SESSION.create_client("stepfunctions", config=Config(**workflow_options(), max_pool_connections=BATCH_MAX))
_RESULTS = _SESSION.create_client(
    "sns", config=Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 2, "mode": "standard"})
)
_POOL = ThreadPoolExecutor(BATCH_MAX)


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handle(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Run the workflow for each message; gives those to keep (ReportBatchItemFailures)."""

    def remaining() -> float:
        return context.get_remaining_time_in_millis() / 1000

    messages = [Message.of(record) for record in event["Records"]]
    done: list[Result | Kept] = []
    for sequence in _POOL.map(lambda each: _run_all(each, remaining), in_sequences(messages)):
        done += sequence
    kept = [each for each in done if isinstance(each, Kept)]
    kept += _publish([each for each in done if isinstance(each, Result)])
    kept += held_up(messages, kept)
    for each in kept:
        logger.warning(
            "the message is kept",
            message_id=each.message.message_id,
            transaction_id=each.message.transaction_id or "unusable",
            reason=each.why,
        )
    logger.info("batch is done", messages=len(messages), kept=len(kept))
    return {"batchItemFailures": [{"itemIdentifier": each.message.message_id} for each in kept]}


def _run_all(messages: Iterable[Message], remaining: Callable[[], float]) -> list[Result | Kept]:
    """Run the workflow for the messages of a sequence; those of a message group end at the first that is kept."""
    done: list[Result | Kept] = []
    for message in messages:
        if message.group is not None and done and isinstance(done[-1], Kept):
            break
        try:
            done.append(_run(message, remaining))
        except Exception as error:  # noqa: BLE001 - its text may hold what was submitted, so it must not leave
            done.append(Kept(message, f"{type(error).__name__} at {place_of(error.__traceback__)}"))
    return done


def _run(message: Message, remaining: Callable[[], float]) -> Result | Kept:
    """Run the workflow for one message."""
    if message.why is not None:
        return Kept(message, message.why)
    for pause in (*_PAUSES, None):
        if remaining() < DEADLINE_SECONDS + PUBLISHING_SECONDS:
            return Kept(message, "no time is left in this invocation")
        try:
            result = _WORKFLOW.start_sync_execution(
                stateMachineArn=os.environ["STATE_MACHINE_ARN"], name=message.execution, input=message.text
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in THROTTLED or pause is None:
                return Kept(message, f"Step Functions answered {code}")
            time.sleep(random.uniform(0, pause))  # noqa: S311
        except BotoCoreError as error:
            return Kept(message, f"Step Functions did not answer: {type(error).__name__}")
        else:
            ended = Ended.of(result)
            if ended.end is End.NOT_ANSWERED:
                return Kept(message, f"the execution ended as {result['status']}")
            return Result(message, ended)
    raise AssertionError("the last attempt returns")


def _publish(results: list[Result]) -> list[Kept]:
    """Publish results; gives the messages whose results were not: they come again, and are answered as before."""
    if not results:
        return []
    try:
        answer = _RESULTS.publish_batch(
            TopicArn=os.environ["RESULT_TOPIC_ARN"], PublishBatchRequestEntries=entries(results)
        )
    except ClientError as error:
        return [Kept(each.message, f"SNS answered {error.response['Error']['Code']}") for each in results]
    except BotoCoreError as error:
        return [Kept(each.message, f"SNS did not answer: {type(error).__name__}") for each in results]
    failed = {int(each["Id"]): each["Code"] for each in answer.get("Failed", [])}
    return [Kept(results[number].message, f"SNS answered {code}") for number, code in failed.items()]
