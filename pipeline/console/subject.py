"""What one console is about: an environment on a target, and the changes that it may make there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cfn.names import STATE_MACHINE, Names
from cfn.problems import Command
from cfn.workflow.composition import definition
from pipeline.assembly.proof.verification import Proven
from pipeline.console.jobs import Result
from pipeline.core.errors import NextStep, StackError
from pipeline.core.events import Report
from pipeline.doctor.verdict import CheckResult
from pipeline.oci.values import Digest
from pipeline.stacks import StackState, read_stack
from pipeline.target import Target, explained
from pipeline.transactions.ways import read_definition

_T = TypeVar("_T")


class Changes(Protocol):
    """What the console may change: the commands of the same names. Each raises PipelineError if it fails."""

    def submit(self, text: str, report: Report) -> Result: ...
    def submit_file(self, path: Path, report: Report) -> Result: ...
    def redrive(self, transaction_id: str | None, report: Report) -> Result: ...
    def roll_back(self, number: int, report: Report) -> Result: ...


class Cached(Generic[_T]):
    """A value that is read again once it is older than ``seconds``; one thread reads, the others wait for it."""

    def __init__(self, read: Callable[[], _T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._lock = threading.Lock()
        self._value: tuple[float, _T] | None = None

    def __call__(self) -> _T:
        with self._lock:
            if self._value is None or time.monotonic() - self._value[0] > self._seconds:
                value = self._read()
                self._value = time.monotonic(), value
            return self._value[1]

    def forget(self) -> None:
        with self._lock:
            self._value = None


@dataclass(frozen=True)
class Subject:
    """An environment on a target.

    connect    gives the target as it is now; raises PipelineError if the embedded AWS does not run
    functions  the names of the functions' folders
    has_transactions  whether the project has the transaction pipeline
    spell      a command as a line for a shell
    examine    what ``doctor`` finds
    compare    what ``why-changed`` says of two releases; raises PipelineError if their images cannot be read
    prove      what signatures and provenance prove of images, by function; None without a public key
    changes    None for a console that only reads
    """

    environment: str
    target_name: str
    names: Names
    functions: tuple[str, ...]
    has_transactions: bool
    connect: Callable[[], Target]
    spell: Callable[[Command], str]
    examine: Callable[[], Sequence[CheckResult]]
    compare: Callable[[int, int], str]
    changes: Changes | None = None
    prove: Callable[[Mapping[str, Digest]], Mapping[str, Proven]] | None = None
    _target: Cached[Target] = field(init=False)
    _stack: Cached[tuple[StackState, Mapping[str, Any] | None]] = field(init=False)

    def __post_init__(self) -> None:
        # The embedded AWS may be started again at another address.
        object.__setattr__(self, "_target", Cached(self.connect, float("inf")))
        object.__setattr__(self, "_stack", Cached(self._read_stack, 10))

    def client(self, service: str) -> Any:
        return self._target().client(service)

    @property
    def is_local(self) -> bool:
        return self.target_name == "local"

    def read(self, what: str, action: Callable[[], _T]) -> _T:
        """``action``, whose failures are PipelineErrors that say ``what`` was not done."""
        try:
            with explained(self.target_name, what):
                return action()
        except BaseException:
            self._target.forget()
            self._stack.forget()
            raise

    @property
    def state_machine(self) -> Mapping[str, Any] | None:
        """The definition of the deployed state machine; None only for a project without a workflow.

        Raises SubmissionError if the stack of the transaction pipeline has none.
        """
        return self._stack()[1]

    @property
    def stack(self) -> StackState:
        """The pipeline stack."""
        return self._stack()[0]

    def output(self, key: str) -> str:
        """An output of the pipeline stack. Raises StackError if there is none."""
        stack = self._stack()[0]
        if (value := stack.outputs.get(key)) is None:
            raise self._not_deployed(stack)
        return str(value)

    def _read_stack(self) -> tuple[StackState, Mapping[str, Any] | None]:
        stack = read_stack(self.client("cloudformation"), self.names.pipeline_stack)
        if stack.status.gone:
            raise self._not_deployed(stack)
        if not stack.template:  # while an operation is in progress, such as an `up`
            return stack, definition() if self.has_transactions else None
        template = json.loads(stack.template)
        return stack, read_definition(template) if self.has_transactions or STATE_MACHINE in template[
            "Resources"
        ] else None

    def _not_deployed(self, stack: StackState) -> StackError:
        why = f"the stack {stack.name} is {stack.status}"
        return StackError(f"{self.environment} has nothing to show", why, NextStep("Deploy it", ("up",)))
