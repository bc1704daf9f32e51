"""Reserved concurrency beyond the limit of the account."""

from __future__ import annotations

from collections.abc import Iterator

from ._template import FUNCTIONS, Finding, TemplateRule, View, number

# Lambda keeps this many executions unreserved (AWS: "Configuring reserved concurrency"); an account with a lower limit
# cannot reserve any.
MINIMUM_UNRESERVED = 100
DEFAULT_ACCOUNT_LIMIT = 1000


class ReservedConcurrencyTooHigh(TemplateRule):
    id = "E9510"
    shortdesc = "The functions reserve more concurrency than the account allows"
    description = (
        "The sum of ReservedConcurrentExecutions leaves fewer than 100 executions of the account's limit, which Lambda "
        "rejects: 'decreases account's UnreservedConcurrentExecution below its minimum value'. The limit is 1,000 "
        "unless configured: -x E9510:account_limit=10"
    )
    source_url = "https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html"
    tags = ("resources", "lambda", "quota")
    concerns = FUNCTIONS

    def __init__(self) -> None:
        super().__init__()
        self.config_definition = {"account_limit": {"default": DEFAULT_ACCOUNT_LIMIT, "type": "integer"}}
        self.configure()

    def find(self, view: View) -> Iterator[Finding]:
        limit = int(self.config["account_limit"])
        minimum = min(MINIMUM_UNRESERVED, limit)
        found = [(f, number(f.get("ReservedConcurrentExecutions"))) for f in view.resources(*FUNCTIONS)]
        reserved = [(function, count) for function, count in found if count]
        total = sum(count for _, count in reserved)
        if reserved and limit - total < minimum:
            each = ", ".join(f"{function.id} {count}" for function, count in reserved)
            most = max(reserved, key=lambda pair: pair[1])[0]
            yield Finding(
                most.at("ReservedConcurrentExecutions"),
                f"{total} executions are reserved ({each}); of {limit}, Lambda keeps {minimum} unreserved, "
                f"so at most {limit - minimum} can be reserved",
            )
