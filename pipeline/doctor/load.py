"""Check that the account's limits carry the load in the settings."""

from __future__ import annotations

from cfn.concurrency import loaded, reservation
from cfn.names import RESERVED_CONCURRENCY
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, ok, warning
from pipeline.environment.parameters import fitting_reservation
from pipeline.transactions.capacity import capacity


def check_load(situation: Situation) -> Verdict:
    """The limits allow the transactions per minute in the settings, and their peaks."""
    functions = loaded(situation.settings, (source.definition for source in situation.sources))
    if not functions:
        return ok("no function carries transactions")
    limit = situation.client("lambda").get_account_settings()["AccountLimit"]
    state = situation.pipeline.state
    own = 0 if state.status.gone else int(state.parameters.get(RESERVED_CONCURRENCY) or 0) * len(functions)
    free = min(limit["UnreservedConcurrentExecutions"] + own, limit["ConcurrentExecutions"])
    reserved = fitting_reservation(free, len(functions), reservation(situation.settings, functions))
    found = capacity(functions, reserved, free - reserved * len(functions))
    wanted, burst = situation.settings.transactions_per_minute, situation.settings.burst
    said = f"{found.per_minute:,} transactions a minute are carried: {found.narrowest.name}, {found.narrowest.cause}"
    if found.per_minute >= wanted * burst:
        return ok(said)
    peak = "" if found.per_minute < wanted else f" with peaks of {burst:g} times as many"
    return warning(
        f"{said}; the settings ask for {wanted:,}{peak}",
        "Submissions beyond the limit are retried, then parked. Raise the limit in Service Quotas, or set the expected"
        " load: transactions_per_minute and burst in environments.toml.",
    )
