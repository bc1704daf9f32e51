"""What an entrance costs, in addition to the transactions that come through it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cfn.entrances.entrance_functions import as_set
from cfn.events.kinds import Queue
from cfn.settings import Entrance, FunctionDefinition, Settings
from pipeline.transactions.cost import MILLION, Line
from pipeline.transactions.files.simulation import file_cost
from pipeline.transactions.prices import Prices

# Bytes that a request leaves in the logs: a line of the access log, and one of the function's.
_HTTP_LOG_BYTES = 900
# Bytes of the function's lines for each batch.
_BATCH_LOG_BYTES = 400
# Requests to SQS for a batch: one that receives it, and one that deletes it.
_REQUESTS_OF_BATCH = 2


def entrance_costs(settings: Settings, functions: Sequence[FunctionDefinition], prices: Prices) -> Iterator[Line]:
    """One line for each entrance that is a function: USD per million transactions through it.

    functions  those of the stack; ``milliseconds`` is what an invocation takes
    """
    table = prices.table
    for function in as_set(settings, functions):
        seconds = function.memory / 1024 * function.milliseconds / 1000
        invocation = table["lambda"]["per_million_requests"]
        invocation += seconds * MILLION * table["lambda"][f"per_gb_second_{settings.architecture}"]
        match function.entrance:
            case Entrance.HTTP:
                usd = table["api"]["per_million_requests"] + invocation + _logs(_HTTP_LOG_BYTES, prices)
            case Entrance.QUEUE:
                queue = next(event for event in function.events if isinstance(event, Queue))
                batch = queue.batch
                requests = 1 + _REQUESTS_OF_BATCH / batch
                request = table["sqs"]["per_million_fifo_requests" if queue.is_fifo else "per_million_requests"]
                # A batch of results is one request, as each has far less than 64 KiB (SNS pricing).
                published = table["sns"]["per_million_requests"] / batch
                usd = requests * request + published
                usd += (invocation + _logs(_BATCH_LOG_BYTES, prices)) / batch
            case _:
                continue
        yield Line(f"through {function.entrance}", 1, "million", usd)


def file_entrance_cost(prices: Prices) -> Line:
    """The same for the entrance for files: the executions that submit the lines of one file."""
    return Line(f"through {Entrance.FILES}", 1, "million", file_cost(MILLION, prices))


def _logs(size: float, prices: Prices) -> float:
    """USD for as many bytes a million times."""
    return size * MILLION / 1e9 * prices.table["logs"]["per_gb"]
