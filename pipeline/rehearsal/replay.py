"""Runs the workflow's definition once, in this process, with its effects left out.

The definition is the one of the release that is rehearsed, and its expressions are evaluated as Step Functions does
(``pipeline.verification``), so a changed decision is rehearsed like a changed image. Only its requests are answered
here: a function is invoked, the history is read, and of all others, which write or send, none is made
(docs/decisions/rehearsal.md).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cfn.names import STATE_MACHINE
from cfn.workflow.limits import FINGERPRINT_KEY_CHARACTERS
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.rehearsal.recordings import Stored, moment_of
from pipeline.verification.language.integrations import Integration
from pipeline.verification.language.interned import Values
from pipeline.verification.language.machine import Machine, read_machine
from pipeline.verification.model.semantics import Semantics
from pipeline.verification.model.steps import Local, Outcome, Run

# Executions after which what was remembered of earlier ones is forgotten.
_REMEMBERED = 200
_NAME = re.compile(r"\$\{(\w+)\}")


class OtherPayload(Exception):
    """The table's answer is to another payload of the same id."""


class TaskFailed(Exception):
    """A task ended in an error, by Step Functions' name for it."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(error, cause)
        self.error, self.cause = error, cause


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution ended: with an answer, or in an error of one of its states."""

    answer: Mapping[str, Any] | None = None
    error: str = ""


Invoke = Callable[[str, Any], Any]
"""(what the definition calls the function, payload) → its response. Raises TaskFailed."""
ReadHistory = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""(arguments of the Query) → its result."""


def definition_of(template_body: str) -> dict[str, Any]:
    """The state machine of a pipeline template, with ``${Name}`` for the resources of the stack.

    Raises ReleaseError for a template without one.
    """
    properties = json.loads(template_body).get("Resources", {}).get(STATE_MACHINE, {}).get("Properties", {})
    text, substitutions = properties.get("DefinitionString"), properties.get("DefinitionSubstitutions", {})
    if not isinstance(text, str):
        raise ReleaseError(
            "the release was not rehearsed",
            f"its template has no state machine {STATE_MACHINE} with a definition",
            NextStep("Rehearse a release of the transaction pipeline", ("releases",)),
        )
    shared = {name: value for name, value in substitutions.items() if isinstance(value, str)}
    document: dict[str, Any] = json.loads(_NAME.sub(lambda found: shared.get(found[1], found[0]), text))
    return document


class Replay:
    """Executions of one definition. ``run`` may be called in several threads; expressions are evaluated in turn."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self._machine: Machine = read_machine(dict(definition))
        self._lock = threading.Lock()
        self._runs = 0
        self._semantics = self._fresh()

    def run(self, transaction: Any, stored: Stored, invoke: Invoke, history: ReadHistory) -> Ended:
        """One execution with ``transaction`` as its input, at the time when it was received.

        Raises OtherPayload if ``stored`` has the fingerprint of another payload, and ValueError if the time when it was
        received cannot be read.
        """
        clock = int(moment_of(stored.received_at).timestamp() * 1000)
        services = _Services(stored, invoke, history)
        with self._lock:
            self._runs += 1
            if self._runs % _REMEMBERED == 0:
                self._semantics = self._fresh()
            semantics, number = self._semantics, self._runs
            values = semantics.values
            run = Run(0, values.add(f"rehearsal:{number}"), values.add(transaction), clock, 0)
            local = semantics.start(run)
        while True:
            with self._lock:
                while outcomes := semantics.step(run, local, clock, 0):
                    local = outcomes[0].local
                if local[0] in ("done", "failed"):
                    return _ended(values, local)
                path, place = next(semantics.requests(local))
                call, arguments = semantics.calls[place[1]], values[semantics.arguments(run, place, clock)]
            following: list[Outcome]
            try:
                result = services.answer(call, arguments)
            except TaskFailed as failed:
                with self._lock:
                    following = semantics.refuse(run, place, clock, failed.error, failed.cause)
            else:
                with self._lock:
                    following = semantics.complete(run, place, clock, values.add(result))
            with self._lock:
                local = semantics.replaced(run, local, path, following[0], clock)[0].local

    def _fresh(self) -> Semantics:
        return Semantics(self._machine, Values(), lambda *_: (), lambda _call, _arguments: True, modelled=False)


@dataclass(slots=True)
class _Services:
    """Answers the requests of one execution. Writes and messages succeed, and none is made."""

    stored: Stored
    invoke: Invoke
    history: ReadHistory
    sealed: bool = False

    def answer(self, call: Integration, arguments: Mapping[str, Any]) -> Any:
        match call.service, call.action:
            case "lambda", "invoke":
                return {"Payload": self.invoke(str(arguments["FunctionName"]), arguments["Payload"])}
            case "dynamodb", "query":
                return self.history(arguments)
            case "dynamodb", "updateItem":
                return self._update(arguments["ExpressionAttributeValues"])
            case "secretsmanager", "getSecretValue":
                # Only for a fingerprint, which cannot be compared then: the rehearsal may not read the key.
                self.sealed = True
                return {"SecretString": "0" * FINGERPRINT_KEY_CHARACTERS}
        return {}

    def _update(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The response to a claim, which has the time of the first submission; other updates do not read theirs."""
        given = values.get(":fingerprint", {}).get("S", "")
        if given and self.stored.fingerprint and not self.sealed and given != self.stored.fingerprint:
            raise OtherPayload
        received = {"S": self.stored.received_at}
        return {"Attributes": {"claim_token": values.get(":token", {"S": ""}), "received_at": received}}


def _ended(values: Values, local: Local) -> Ended:
    if local[0] == "done":
        return Ended(answer=values[local[1]])
    error, cause = str(local[1]), values[local[2]]
    try:
        # Parked: the state that failed and its error.
        failure = json.loads(cause)
        return Ended(error=f"{failure['state']}: {failure['error']}")
    except (KeyError, TypeError, ValueError):
        return Ended(error=error)
