"""The thin glue between Lambda and a function's pure logic: event, log, metrics, errors.

Nothing that was submitted reaches a log but a well-formed transaction id. The Lambda runtime logs the text of every
exception that leaves a handler, so an exception that this package did not word itself is replaced by one that names
its type and place only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from transactions.transaction import FieldError, Transaction, is_transaction_id, parse_instant, read_transaction

Response = dict[str, Any]
Handler = Callable[[Any, LambdaContext], Response]

# Service and level come from the environment that the stack sets (POWERTOOLS_SERVICE_NAME, POWERTOOLS_LOG_LEVEL).
logger = Logger()
# The only dimension is the service: every value of a dimension is a metric of its own and is billed as one.
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "TransactionPipeline"))

# What Powertools adds to every line, and the log group and the configuration say already: logs cost by the byte.
_KNOWN = ("function_name", "function_memory_size", "function_arn")
_EXECUTION = re.compile(r"[A-Za-z0-9_-]{1,80}")


class InvocationError(Exception):
    """A failure that this project words itself. Its text is fit for logs and for the parked message."""


class InvalidEvent(InvocationError):
    """The state machine sent an event that breaks the contract between the two; a retry cannot help."""


class InternalError(InvocationError):
    """A defect. Names the type and the place of the original exception, and not its text."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The event of every function.

    document     the transaction as it came, of any JSON type
    received_at  UTC, to the millisecond
    execution    the UUID of the state machine's execution, for the log
    event        the whole event, for what only one function is given
    """

    document: Any
    received_at: datetime
    execution: str | None = None
    event: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, event: object) -> Invocation:
        """Read ``{"transaction": …, "received_at": "2026-11-23T14:00:00.000Z", "execution": …}``."""
        if not isinstance(event, dict) or "transaction" not in event:
            raise InvalidEvent("the event has no transaction")
        try:
            received_at = parse_instant(event.get("received_at"))
        except FieldError as error:
            raise InvalidEvent(f"the event's received_at cannot be used: {error}") from None
        execution = event.get("execution")
        usable = isinstance(execution, str) and _EXECUTION.fullmatch(execution)
        return cls(event["transaction"], received_at, execution if usable else None, event)

    def canonical_transaction(self) -> Transaction:
        """The transaction that validation gave out. Raises InvalidEvent: only validation may meet a faulty one."""
        read = read_transaction(self.document, canonical=True)
        if isinstance(read, Transaction):
            return read
        found = ", ".join(f"{fault.field or 'transaction'}: {fault.code}" for fault in read)
        raise InvalidEvent(f"the transaction is not in canonical form ({found})")


def lambda_handler(judge: Callable[[Invocation], Response]) -> Handler:
    """Make a Lambda handler of a function from an invocation to a JSON result.

    Adds ``image`` (the digest that runs) to the result, the transaction id and the execution's name to every log
    line, and counts invocations and failures.
    """

    @logger.inject_lambda_context(log_event=False, clear_state=True)
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handle(event: Any, _context: LambdaContext) -> Response:
        failure: InvocationError
        logger.remove_keys(_KNOWN)
        try:
            invocation = Invocation.parse(event)
            logger.append_keys(transaction_id=_loggable_id(invocation.document), execution=invocation.execution)
            response = {**judge(invocation), "image": os.environ.get("IMAGE_DIGEST", "unknown")}
        except InvocationError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - its text may hold what was submitted, so it must not leave
            failure = InternalError(f"{type(error).__name__} at {place_of(error.__traceback__)}")
        else:
            metrics.add_metric("TransactionsJudged", MetricUnit.Count, 1)
            return response
        metrics.add_metric("InvocationsFailed", MetricUnit.Count, 1)
        logger.error("the transaction was not judged", error=type(failure).__name__, reason=str(failure))
        # Raised outside the except block: an exception in flight would be chained to this one, text and all.
        raise failure

    handler: Handler = handle
    return handler


def _loggable_id(document: object) -> str:
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return str(value) if is_transaction_id(value) else "unusable"


def place_of(trace: TracebackType | None) -> str:
    """The innermost frame as ``scoring.py:42 in score``."""
    place = "an unknown place"
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"  # noqa: PTH119
        trace = trace.tb_next
    return place
