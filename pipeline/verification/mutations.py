"""Ways to break the transaction workflow, each of which the model has to refute.

A mutation is a small, plausible edit of the definition: a catcher dropped, a condition shortened, a token forgotten. If
each is refuted, the promises are meaningful and the model detects violations.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import VerificationError
from pipeline.verification.proof import Proof, verify

States = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One edit of the definition.

    name    what was changed, as a sentence
    change  edits the states in place
    faults  how many it takes to see it
    shows   the exploration that refutes it, which is tried first: those before it would be explored to their ends
    """

    name: str
    change: Callable[[States], Any]
    faults: int = 1
    shows: str = "two executions"


@dataclass(frozen=True, slots=True)
class Verdict:
    mutation: Mutation
    proof: Proof

    @property
    def refuted_by(self) -> str:
        """The promise or finding that refutes it first; "" if nothing does."""
        return next(iter(self.proof.refuted), "")


def judge(definition: Mapping[str, Any], mutations: Sequence[Mutation] | None = None) -> Iterator[Verdict]:
    """Each mutation with what refutes it. Raises VerificationError for a mutation that changes nothing."""
    for mutation in mutations or MUTATIONS:
        mutant = copy.deepcopy(dict(definition))
        try:
            mutation.change(mutant["States"])
        except (KeyError, StopIteration, IndexError, ValueError) as error:
            raise _unchanged(mutation, error) from error
        if mutant == definition:
            raise _unchanged(mutation, None)
        proof = verify(mutant, executions=2, faults=mutation.faults, stop_at_first=True, first=mutation.shows)
        yield Verdict(mutation, proof)


def _unchanged(mutation: Mutation, error: Exception | None) -> VerificationError:
    return VerificationError(
        "a mutation was not judged",
        f"{mutation.name!r} does not fit the definition" + (f": {error!r}" if error else ""),
        "Change pipeline/verification/mutations.py along with the states that it names.",
    )


# --- edits ------------------------------------------------------------------------------------------------------------


def _drop_catch(state: str, error: str = "States.ALL") -> Callable[[States], None]:
    def change(states: States) -> None:
        catchers = states[state]["Catch"]
        states[state]["Catch"] = [each for each in catchers if not any(error in name for name in each["ErrorEquals"])]

    return change


def _edited(value: Any, old: str, new: str) -> Any:
    """``value`` with ``old`` replaced in every text, however the two are spaced."""
    match value:
        case str():
            pattern = r"\s*".join(re.escape(each) for each in old if not each.isspace())
            return re.sub(pattern, lambda _found: new, value)
        case dict():
            return {name: _edited(each, old, new) for name, each in value.items()}
        case list():
            return [_edited(each, old, new) for each in value]
    return value


def _set(state: str, value: Any, *path: str) -> Callable[[States], None]:
    def change(states: States) -> None:
        target = states[state]
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = value

    return change


def _replace(state: str, old: str, new: str) -> Callable[[States], None]:
    def change(states: States) -> None:
        states[state] = _edited(states[state], old, new)

    return change


def _replace_all(old: str, new: str) -> Callable[[States], None]:
    def change(states: States) -> None:
        for name in states:
            states[name] = _edited(states[name], old, new)

    return change


def _drop_rule(state: str, part: str) -> Callable[[States], None]:
    def change(states: States) -> None:
        rules = states[state]["Choices"]
        states[state]["Choices"] = [each for each in rules if part not in each["Condition"]]

    return change


def _catch_all_leads_to(state: str, following: str) -> Callable[[States], None]:
    def change(states: States) -> None:
        catcher = next(each for each in states[state]["Catch"] if each["ErrorEquals"] == ["States.ALL"])
        catcher["Next"] = following

    return change


def _catch_all_assigns(state: str, variable: str, value: Any) -> Callable[[States], None]:
    def change(states: States) -> None:
        catcher = next(each for each in states[state]["Catch"] if each["ErrorEquals"] == ["States.ALL"])
        catcher["Assign"][variable] = value

    return change


def _ignored(state: str) -> Callable[[States], None]:
    return _set(state, [{"ErrorEquals": ["States.ALL"], "Output": _INPUT, "Next": "Answered"}], "Catch")


def _retried(state: str) -> Callable[[States], None]:
    return _set(state, [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}], "Retry")


_INPUT = "{% $states.input %}"
_CONDITION = ("Arguments", "ConditionExpression")
_TWINS, _SEALED = "two runs of one execution", "two executions, payloads with card numbers"
_EVERY_INPUT = "one execution, every input and answer"
_NAME, _TOKEN = "$states.context.Execution.Name", "$run & '@' & $states.context.State.EnteredTime"

# DynamoDB refuses a request with a value that no expression uses, so a condition is weakened rather than dropped.
MUTATIONS = (
    Mutation(
        "Claim has no condition",
        _replace(
            "Claim",
            "attribute_not_exists(transaction_id) OR (",
            "attribute_not_exists(transaction_id) OR attribute_exists(transaction_id) OR (",
        ),
    ),
    Mutation("Claim takes over before the lease ends", _replace("Claim", "lease_until < :now", "lease_until > :now")),
    Mutation(
        "Claim takes over whatever the lease says",
        _replace("Claim", "(lease_until < :now", "(attribute_exists(lease_until) OR lease_until < :now"),
    ),
    Mutation(
        "Claim takes any payload's claim",
        _replace("Claim", "fingerprint = :fingerprint AND", "attribute_exists(fingerprint) AND"),
    ),
    Mutation(
        "Claim takes decided ids too",
        _replace("Claim", "#status = :claimed AND fingerprint", "attribute_exists(#status) AND fingerprint"),
        shows=_TWINS,
    ),
    Mutation(
        "Claim forgets its own token", _replace("Claim", " OR claim_token = :token)", " AND claim_token <> :token)")
    ),
    Mutation("Claim sets no lease", _replace("Claim", "lease_until = :lease", "leased_until = :lease")),
    Mutation("Claim sets a lease that is over", _replace("Claim", "$millis() + 300000", "$millis() - 300000")),
    Mutation(
        "Claim sets a lease in seconds",
        _replace("Claim", "$string($millis() + 300000)", "$string($floor($millis() / 1000) + 300)"),
    ),
    Mutation(
        "Claim is in no shard of the index of leases", _replace("Claim", "lease_shard = :shard", "shard = :shard")
    ),
    Mutation("Claim is in a shard that no sweep looks at", _replace("Claim", "EnteredTime) % 8)", "EnteredTime))")),
    Mutation("Record leaves the decision in the index of leases", _replace("Record", ", lease_shard", "")),
    Mutation("Release leaves the claim in the index of leases", _replace("Release", " REMOVE lease_shard", "")),
    Mutation(
        "the token is one text for all executions",
        _replace("Claim", _TOKEN, "'token'"),
    ),
    Mutation("the token is the execution's name", _replace("Claim", _TOKEN, f"{_NAME} & '@'")),
    Mutation(
        "payloads that hold card numbers are told apart by their letters",
        _replace("Seal", "$substring($text,", "$substring($replace($text, /[^A-Za-z]+/, ''),"),
        shows=_SEALED,
    ),
    Mutation("payloads that hold card numbers are not sealed", _drop_rule("Sensitive", "$submission.sealed")),
    Mutation("Seal catches nothing", lambda states: states["Seal"].pop("Catch"), shows=_SEALED),
    Mutation("Seal is not tried again", lambda states: states["Seal"].pop("Retry"), shows=_SEALED),
    Mutation("Claim does not catch a failed condition", _drop_catch("Claim", "ConditionalCheckFailed")),
    Mutation("Claim does not catch an input that cannot be claimed", _drop_catch("Claim", "QueryEvaluationError")),
    Mutation("Claim catches nothing else", _drop_catch("Claim")),
    Mutation("Claim is not tried again", lambda states: states["Claim"].pop("Retry")),
    Mutation("Claim leaves Release without the token", _catch_all_assigns("Claim", "token", "")),
    Mutation("Validate catches nothing", lambda states: states["Validate"].pop("Catch")),
    Mutation(
        "Validate takes any answer for a verdict",
        _set("Validate", "{% $states.result.Payload %}", "Output"),
        shows=_EVERY_INPUT,
    ),
    Mutation("Assess catches nothing", lambda states: states["Assess"].pop("Catch")),
    Mutation("Assess does not catch a result that is too large", _drop_catch("Assess", "DataLimitExceeded")),
    Mutation("Decide reads a variable that nothing assigns", _set("Decide", "{% $judged %}", "Assign", "judges")),
    Mutation(
        "Record has no condition",
        _set("Record", "attribute_exists(claim_token) OR claim_token = :token OR #status = :claimed", *_CONDITION),
    ),
    Mutation(
        "Record does not compare the token",
        _replace("Record", "claim_token = :token AND", "(attribute_exists(claim_token) OR claim_token = :token) AND"),
    ),
    Mutation(
        "Record does not compare the status",
        _set("Record", "claim_token = :token AND (attribute_exists(#status) OR #status = :claimed)", *_CONDITION),
        shows=_TWINS,
    ),
    Mutation("Record does not catch a lost claim", _drop_catch("Record", "ConditionalCheckFailed")),
    Mutation(
        "Record lets the decision expire", _replace("Record", "judges = :judges", "judges = :judges, expires_at = :at")
    ),
    Mutation(
        "Claim counts for the customer",
        _replace("Claim", "received_at = if_not_exists", "customer_id = :execution, received_at = if_not_exists"),
    ),
    Mutation(
        "Record counts what is rejected",
        _set("Validate", "{% $states.context.Execution.Input.customer_id %}", "Assign", "customer"),
    ),
    Mutation("Record answers although it could not record", _catch_all_leads_to("Record", "Flagged")),
    Mutation(
        "RecordRefusal has no condition", lambda states: states["RecordRefusal"]["Arguments"].pop("ConditionExpression")
    ),
    Mutation("RecordRefusal answers although it could not record", _catch_all_leads_to("RecordRefusal", "Refused")),
    Mutation("RecordRefusal does not catch another decision", _drop_catch("RecordRefusal", "ConditionalCheckFailed")),
    Mutation(
        "an id is read off an array",
        _replace("Read", "$given := $type($in) = 'object' ?", "$given := true ?"),
        shows=_EVERY_INPUT,
    ),
    Mutation("Known does not compare payloads", _drop_rule("Known", "$not($states.input.same)")),
    Mutation("Known does not look for a decision", _drop_rule("Known", "DECIDED")),
    Mutation("Known waits without end", _drop_rule("Known", "$millis()")),
    Mutation("Known does not mark a repeat", _replace("Known", "{'repeat': true}", "{}")),
    Mutation("Recall reads the answer as text", _replace("Recall", "$parse($item.answer.S)", "$item.answer.S")),
    Mutation("Park catches nothing", lambda states: states["Park"].pop("Catch")),
    Mutation("Park is tried again", _retried("Park"), faults=2),
    Mutation("Park gives up without the table", _catch_all_leads_to("Park", "NotParked")),
    Mutation("Park sends no input", _replace("Park", "{'input': $in}", "{}")),
    Mutation("Park does not name the execution", _replace("Park", "'execution': $execution", f"'execution': {_NAME}")),
    Mutation("Park does not give the claim back", _set("Park", "Parked", "Next")),
    Mutation("ParkInTable catches nothing", lambda states: states["ParkInTable"].pop("Catch")),
    Mutation(
        "ParkInTable overwrites the id's item",
        _replace("ParkInTable", "'parked#' & $execution", "$states.context.Execution.Input.transaction_id"),
        faults=2,
    ),
    Mutation(
        "Release does not compare the token",
        _replace("Release", "claim_token = :token AND", "(attribute_exists(claim_token) OR claim_token = :token) AND"),
    ),
    Mutation("Release catches nothing", lambda states: states["Release"].pop("Catch"), faults=2),
    Mutation("an alert that fails withholds the answer", _catch_all_leads_to("Alert", "Park"), shows=_EVERY_INPUT),
    Mutation(
        "an alert that fails is forgotten",
        _ignored("Alert"),
    ),
    Mutation("details that fail withhold the answer", _catch_all_leads_to("KeepDetails", "Park"), shows=_EVERY_INPUT),
    Mutation(
        "details that fail take the alert with them",
        _ignored("KeepDetails"),
    ),
    Mutation("ParkAlert answers with the error", _set("ParkAlert", _INPUT, "Output")),
    Mutation("ParkAlert catches nothing", lambda states: states["ParkAlert"].pop("Catch"), faults=2),
    Mutation("Alert waits for ten minutes", _set("Alert", 600, "TimeoutSeconds")),
)
