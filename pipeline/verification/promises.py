"""What a workflow that decides once per id promises, as checks of single moves of the model.

The promises are about a table with one item per id, a queue that takes what could not be decided, and answers:

- at most one decision per id, never overwritten, never expired, made only by the execution that holds the claim;
- all answers to one id are one answer, but ``CONFLICT`` to another payload; only one of them is not marked ``repeat``;
- every execution ends in an answer that is on record, or in one parked message, unless queue and table both refused it;
- it is parked only for a reason, and then holds no claim; an alert that fails is parked and withholds no answer;
- what is not valid does not count for the customer that it names;
- whatever a dead execution leaves behind, the next submission after its lease is answered.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cfn.workflow.limits import GRACE_SECONDS
from pipeline.transactions import lost
from pipeline.verification.claimed_items import (
    ALERT,
    ANSWER,
    CLAIMED,
    CONFLICT,
    DECIDED,
    EXPIRY,
    KEY,
    LEASE,
    OBSERVED,
    PARKED,
    REJECTED,
    STATUS,
    TABLE,
    holds,
    text_of,
    usable_id,
)
from pipeline.verification.item_promises import judge_write
from pipeline.verification.language.integrations import Integration
from pipeline.verification.language.interned import Values
from pipeline.verification.language.machine import Machine
from pipeline.verification.model.carried_out import EPOCH, item_place
from pipeline.verification.model.exploration import Explorer
from pipeline.verification.model.semantics import Semantics
from pipeline.verification.model.steps import Answers, Effect, Run
from pipeline.verification.model.world import Abstraction, Bounds, Execution, Move, Violation, World
from pipeline.verification.table.conditions import Names, condition

PROMISES = (
    "a decision is never overwritten",
    "a decision can be read again",
    "only the holder of the claim decides",
    "the first claim fixes the payload",
    "an item is claimed or decided",
    "only a valid transaction counts for its customer",
    "a claim can be found again",
    "a lost claim is found",
    "a sweep finds running claims only",
    "a claim is taken over only after its lease",
    "a lease outlives its execution",
    "only the holder gives a claim back",
    "an answer is an answer",
    "an answer is on record",
    "one id, one answer",
    "a repeat is marked",
    "CONFLICT is for another payload",
    "an unusable id is not recorded",
    "no submission is lost",
    "a submission is parked at most once",
    "a submission is parked only for a reason",
    "a failure says whether it is parked",
    "a parked message can be redriven",
    "what is parked holds no claim",
    "an alert is sent or parked",
    "an alert that fails withholds no answer",
    "nothing hangs",
)

# Outcomes that send an alert, and the states that send it.
_ALERTED = ("REVIEW", "DECLINED", CONFLICT)
_AFTER_THE_ANSWER = ("KeepDetails", "Alert")
# Times that are shown and never compared; without them a decision is the same decision at any time of the clock. The
# milliseconds stay, which tell one execution's decision from another's.
_SHOWN = re.compile(r'(\\*"(?:decided_at|received_at|parked_at)\\*":(?:\{\\*"S\\*":)?\\*")\d{4}-[0-9T:-]+\.\d(\d\dZ)')


@dataclass(slots=True)
class Promises:
    """The promises over one exploration's values and payloads.

    exact  keep everything that is shown, for explorations of one execution
    twins  the executions are runs of one execution, which may both give its answer
    """

    values: Values
    payloads: Mapping[str, Any]
    exact: bool = False
    twins: bool = False
    _changes: dict[tuple[Any, ...], list[Violation]] = field(default_factory=dict)
    _items: dict[tuple[int, int], Any] = field(default_factory=dict)
    _judged: set[tuple[Any, ...]] = field(default_factory=set)
    _companies: dict[tuple[int, ...], int] = field(default_factory=dict)
    _numbered: dict[Any, int] = field(default_factory=dict)
    _recovered: dict[int, Violation | None] = field(default_factory=dict)
    _shown: dict[int, int] = field(default_factory=dict)

    # --- what the world keeps -----------------------------------------------------------------------------------------

    def shared(self, call: Integration, arguments: Any) -> bool:
        """Whether other executions see it: a request about the item of an id that is being submitted."""
        if not call.is_table or not isinstance(arguments, dict):
            return False
        place = item_place(arguments, call.action, (KEY,))
        return any(
            place.endswith(f" {self._place(payload)}") for payload in self.payloads.values() if usable_id(payload)
        )

    def _place(self, payload: Any) -> str:
        return json.dumps({KEY: {"S": payload[KEY]}}, separators=(",", ":"))

    def abstraction(self, *, swept: bool = False) -> Abstraction:
        places = frozenset(
            place
            for payload in self.payloads.values()
            if usable_id(payload)
            for place in (f"{TABLE} {self._place(payload)}",)
        )
        return Abstraction(
            (KEY,), self.noted, self.remembered, (lambda value: value) if self.exact else self.shown, self.aged,
            OBSERVED, EXPIRY, places, functools.partial(self.swept, places) if swept else None,
        )  # fmt: skip

    def swept(
        self, places: frozenset[str], place: str, item: Mapping[str, Any], now: int
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What ``redrive --lost`` asks of the table for a claim that it finds, without the grace that it has."""
        values = lost.filter_values(now + GRACE_SECONDS * 1000)
        if place not in places or not condition(lost.FILTER, Names(lost.STATUS, values))(item):
            return None
        token = "redrive@1"  # noqa: S105 - that of a claim
        return lost.take(TABLE, item, token, now), lost.give_back(TABLE, item, token, now)

    def noted(self, run: Run, effect: Effect, arguments: Any) -> Any:
        """A parked submission: where, what is wrong with its message, and the state that failed; or an alert."""
        if effect.integration.service == "sns":
            return [ALERT, "", ""]
        if effect.integration.service == "sqs":
            return ["queue", *self._parked(run, arguments.get("MessageBody"))]
        if effect.integration.is_table:
            item = arguments.get("Item", {})
            if str(item.get(KEY, {}).get("S", "")).startswith(PARKED):
                return ["table", *self._parked(run, item.get("message", {}).get("S"))]
        return None

    def _parked(self, run: Run, body: Any) -> list[str]:
        """What is wrong with a parked message, and the state that failed."""
        try:
            message = json.loads(body) if isinstance(body, str) else body
        except ValueError:
            return ["is no JSON", ""]
        if not isinstance(message, dict):
            return ["is no object", ""]
        return [self._fault_of(run, message), str(message.get("state"))]

    def _fault_of(self, run: Run, message: Mapping[str, Any]) -> str:
        payload = self.values[run.payload]
        if message.get("execution") != self.values[run.name]:
            return f"names the execution {message.get('execution')!r}"
        if "input" in message and message["input"] != payload:
            return "carries another input"
        if "input" not in message and "excerpt" not in message and "withheld" not in message:
            return "carries no input"
        if "withheld" in message and KEY not in message:
            return "does not say whose input is withheld"
        missing = [name for name in ("state", "error") if not isinstance(message.get(name), str)]
        return f"does not name {' and '.join(missing)}" if missing else ""

    def remembered(self, output: Any) -> Any:
        if not isinstance(output, dict) or output.get("outcome") == CONFLICT:
            return CONFLICT
        return {name: output.get(name) for name in ("outcome", "decided_at", "repeat")}

    def shown(self, value: Any) -> Any:
        text = json.dumps(value, separators=(",", ":"))
        return json.loads(_SHOWN.sub(r"\g<1>2027-01-15T08:00:00.0\g<2>", text))

    def shown_number(self, number: int) -> int:
        if number not in self._shown:
            self._shown[number] = number if self.exact else self.values.add(self.shown(self.values[number]))
        return self._shown[number]

    @staticmethod
    def aged(item: Mapping[str, Any], now: int) -> Mapping[str, Any]:
        """A lease that is over is over, whenever it ended; 0 is that of a claim that was given back."""
        if LEASE in item and "N" in item[LEASE] and 0 < float(item[LEASE]["N"]) < now:
            return {**item, LEASE: {"N": "1"}}
        return item

    # --- judging a move -----------------------------------------------------------------------------------------------

    def judge(self, explorer: Explorer, before: World, move: Move, after: World) -> Iterator[Violation]:
        if before.table != after.table:
            writer = self.values[move.became.run.name] if move.became is not None else ""
            key = (before.table, after.table, writer, after.clock)
            if key not in self._changes:
                self._changes[key] = list(self._changed(explorer, before, after, writer))
            yield from self._changes[key]
            if after.table not in self._recovered:
                self._recovered[after.table] = self._recover(explorer, after)
            if (stuck := self._recovered[after.table]) is not None:
                yield stuck
        if (became := move.became) is not None and (move.sent or became.ended):
            # Moves are kept as long as the explorer, so their ids are theirs.
            judged = (id(move), before.table, before.sent, after.table, after.clock, self._company(explorer, after))
            if judged in self._judged:
                return
            self._judged.add(judged)
            if move.sent:
                yield from self._parking(before, move, became)
            if became.ended:
                yield from self._ending(explorer, before, move, became, after)

    def _company(self, explorer: Explorer, world: World) -> int:
        """A number for what the end of an execution is compared with: the answers given, and the payloads submitted."""
        number = self._companies.get(world.executions)
        if number is None:
            given = [explorer.executions[each] for each in world.executions]
            what = (
                tuple(each for each, one in zip(world.executions, given, strict=True) if one.ended),
                frozenset(one.run.payload for one in given),
            )
            number = self._companies[world.executions] = self._numbered.setdefault(what, len(self._numbered))
        return number

    def _changed(self, explorer: Explorer, before: World, after: World, writer: str) -> Iterator[Violation]:
        old_items, new_items = explorer.table(before), explorer.table(after)
        for place in {**old_items, **new_items}:
            old, new = old_items.get(place), new_items.get(place)
            if old != new:
                yield from judge_write(place, old, new, EPOCH + after.clock, writer)

    # --- endings ------------------------------------------------------------------------------------------------------

    def _item(self, table: int, number: int) -> Any:
        """The item of a payload's id, both by their numbers; None without one."""
        key = (table, number)
        if key not in self._items:
            payload = self.values[number]
            ending = f" {self._place(payload)}" if usable_id(payload) else ""
            places = self.values[table].items() if ending else ()
            self._items[key] = next((item for place, item in places if place.endswith(ending)), None)
        return self._items[key]

    def _parking(self, before: World, move: Move, became: Execution) -> Iterator[Violation]:
        name = self.values[became.run.name]
        sent = [self.values[each][1] for each in move.sent]
        if all(place == ALERT for place, _fault, _state in sent):
            return
        for place, fault, _state in sent:
            if fault:
                yield Violation("a parked message can be redriven", f"the message in the {place} {fault}")
        item = self._item(before.table, became.run.payload)
        own = holds(name, item) and not self.twins
        others = text_of(item, STATUS) == CLAIMED and not own
        if "excused" not in became.marks and not others:
            yield Violation(
                "a submission is parked only for a reason",
                "no error that lasts was met, and no other execution holds the claim",
            )

    def _ending(
        self, explorer: Explorer, before: World, move: Move, became: Execution, after: World
    ) -> Iterator[Violation]:
        if became.local[0] == "done":
            yield from self._answered(explorer, after, became)
        notes = [note for note in explorer.notes(before, move, became.run) if note[0] != ALERT]
        places = [place for place, _fault, _state in notes]
        if places.count("queue") > 1 and not self.twins:
            yield Violation(
                "a submission is parked at most once",
                f"the queue has {places.count('queue')} messages of one execution",
            )
        if became.local[0] == "done":
            yield from self._alerted(explorer, before, move, became, bool(places))
            return
        # A queue whose response was lost is a queue that failed, for all that the execution knows.
        failed = became.marks - {"excused"}
        after_it = any(place == "queue" and state in _AFTER_THE_ANSWER for place, _fault, state in notes)
        if after_it and not failed and not self.twins:
            yield Violation("an alert that fails withholds no answer", "the alert is parked, and the execution fails")
        last = became.marks & explorer.semantics.last_resort
        if not places and len(last) < 2:
            error, cause = became.local[1], self.values[became.local[2]]
            yield Violation(
                "no submission is lost", f"the execution fails with {error}, parked nowhere: {str(cause)[:300]}"
            )
        elif became.local[1] != ("Parked" if places else "NotParked") and not (
            # The table has the note, and its response was lost as the queue's was.
            became.local[1] == "NotParked" and len(last) > 1
        ):
            said = f"fails with {became.local[1]}, while it is {'parked' if places else 'not parked'}"
            yield Violation("a failure says whether it is parked", f"the execution {said}")
        item = self._item(after.table, became.run.payload)
        own = text_of(item, STATUS) == CLAIMED and holds(self.values[became.run.name], item)
        if (
            places
            and own
            and not last
            and not self.twins
            and float(item.get(LEASE, {}).get("N", "0")) > EPOCH + after.clock + 10
        ):
            yield Violation("what is parked holds no claim", "its lease still runs, so a redrive has to wait for it")

    def _alerted(
        self, explorer: Explorer, before: World, move: Move, became: Execution, parked: bool
    ) -> Iterator[Violation]:
        output = self.values[became.local[1]]
        told = parked or any(note[0] == ALERT for note in explorer.notes(before, move, became.run))
        if isinstance(output, dict) and output.get("outcome") in _ALERTED and not told and not self.twins:
            yield Violation("an alert is sent or parked", f"{output['outcome']} is answered without an alert")

    def _answered(self, explorer: Explorer, after: World, became: Execution) -> Iterator[Violation]:
        output, payload = self.values[became.local[1]], self.values[became.run.payload]
        if not isinstance(output, dict) or not isinstance(output.get("outcome"), str):
            yield Violation("an answer is an answer", f"the execution succeeds with {str(output)[:200]}")
            return
        if output["outcome"] == REJECTED and not output.get("reasons"):
            yield Violation("an answer is an answer", "it is REJECTED without a reason")
        item, usable = self._item(after.table, became.run.payload), usable_id(payload)
        given = [explorer.executions[each] for each in after.executions]
        if output["outcome"] == CONFLICT:
            if item is None or all(each.run.payload == became.run.payload for each in given):
                yield Violation("CONFLICT is for another payload", "no other payload was submitted under this id")
        elif usable:
            recorded = text_of(item, ANSWER)
            same = recorded and {**json.loads(recorded), "repeat": None} == {**output, "repeat": None}
            if text_of(item, STATUS) != DECIDED or not same:
                found = recorded or "nothing"
                yield Violation("an answer is on record", f"answered {output['outcome']}, while the record has {found}")
        elif item is not None or output.get(KEY) is not None:
            yield Violation("an unusable id is not recorded", f"answered with the id {output.get(KEY)!r}")
        if usable:
            yield from self._together([each for each in given if each.local[0] == "done"])

    def _together(self, answered: list[Execution]) -> Iterator[Violation]:
        answers = [(each.run.payload, self.values[each.local[1]]) for each in answered]
        decisions = [(payload, answer) for payload, answer in answers if answer != CONFLICT]
        different = {(payload, answer["outcome"], answer["decided_at"]) for payload, answer in decisions}
        if len(different) > 1:
            outcomes = ", ".join(sorted(outcome for _payload, outcome, _at in different))
            yield Violation("one id, one answer", f"answered {outcomes}")
        if any((payload, CONFLICT) in answers for payload, _answer in decisions):
            yield Violation("one id, one answer", "a payload is answered and then refused with CONFLICT")
        if sum(answer["repeat"] is False for _payload, answer in decisions) > 1 and not self.twins:
            yield Violation("a repeat is marked", "two executions give the decision as their own")

    # --- what the dead leave behind -----------------------------------------------------------------------------------

    def _recover(self, explorer: Explorer, after: World) -> Violation | None:
        """A submission of each payload after every lease, with all other executions dead, must be answered."""
        bounds = explorer.bounds
        longest = max(bounds.clock, default=0)
        clock = (bounds.ticks + 1) * longest
        begun = {explorer.executions[each].run.payload for each in after.executions}
        names = {name for name, number in explorer.payloads.items() if number in begun or not self.exact}
        alone = Bounds(1, 0, {name: bounds.payloads[name] for name in names}, first=25)
        solo = Explorer(explorer.semantics, alone, replace(explorer.abstraction, swept=None))
        world = solo.first()._replace(table=explorer.services.at_age(after.table, clock), clock=clock)
        failed: list[str] = []

        def unanswered(_explorer: Explorer, _before: World, move: Move, _after: World) -> Iterator[Violation]:
            if move.became is not None and move.became.local[0] == "failed":
                failed.append(str(self.values[move.became.local[2]])[:200])
                yield Violation("", "")

        found = solo.explore(unanswered, first=world)
        ended = {each.run.payload for each in solo.executions if each.ended} == set(solo.payloads.values())
        if found.counterexamples or not ended:
            how = f"fails: {failed[0]}" if failed else "never ends"
            return Violation(
                "nothing hangs", f"with every other execution dead and every lease over, a submission {how}"
            )
        return None


def semantics_of(machine: Machine, promises: Promises, answers: Answers) -> Semantics:
    """The machine's semantics with what the promises keep."""
    return Semantics(
        machine, promises.values, answers, promises.shared, shown=promises.shown_number, same_errors=not promises.exact
    )
