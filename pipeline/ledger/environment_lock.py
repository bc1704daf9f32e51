"""A lock on an environment between machines: one SSM parameter beside the ledger (docs/decisions/locks.md).

The run that creates the parameter holds the lock, renews it, and deletes it at its end. The lock of a killed run, which
was not renewed for LEASE seconds or whose process on this machine is gone, is taken over by a conditional write: SSM
numbers the versions of a parameter, so of two runs that saw the same version only one writes the next. All ages are by
SSM's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.documents import parse_json
from pipeline.core.events import Note, Report, ignore
from pipeline.core.shown import shown
from pipeline.stacks.state import served_at

# Seconds without a renewal after which a lock may be taken over, and between two renewals.
LEASE, RENEWAL = 120.0, 30.0
# A holder gives up this much before others may take over.
_MARGIN = 15.0
# Seconds to wait for a renewal that is under way.
_JOIN = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0


@dataclass(frozen=True, slots=True)
class _Held:
    """The lock of another run, as it was read."""

    version: int
    value: str
    age: float

    @property
    def holder(self) -> str:
        found = self._field("holder")
        return shown(found) if isinstance(found, str) and found else "another run"

    @property
    def is_abandoned(self) -> bool:
        """Whether its process ran on this machine and has ended."""
        process = self._field("process")
        if self._field("machine") != _machine() or not isinstance(process, int) or process <= 0:
            return False
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False  # it runs as another user
        return False

    def _field(self, name: str) -> Any:
        try:
            return parse_json(self.value)[name]
        except (ValueError, LookupError, TypeError):
            return None


def lock_name(environment: str) -> str:
    """The SSM parameter of the lock. environment: what ``Names.ledger`` gives, also below."""
    return f"/transaction-pipeline/{environment}/lock"


@contextlib.contextmanager
def locked(
    ssm: Any, environment: str, holder: str, report: Report = ignore, *, lease: float = LEASE, renewal: float = RENEWAL
) -> Iterator[None]:
    """Hold the environment's lock for the block, waiting for other holders.

    holder  a description for waiting runs: "up by arn:aws:iam::123456789012:user/me"

    If the lock cannot be kept, as after this machine slept, the block ends like after Ctrl-C. Raises ClientError.
    """
    lock = _Lock(ssm, lock_name(environment), holder, lease)
    ended = threading.Event()
    renewing = threading.Thread(target=lock.keep, args=(ended, renewal, report), name="lock", daemon=True)
    try:
        lock.acquire(report)
        renewing.start()
        yield
    finally:
        ended.set()
        if renewing.is_alive():
            renewing.join(_JOIN)
        if not renewing.is_alive():  # else it would create again what is deleted here
            lock.release()


class _Lock:
    def __init__(self, ssm: Any, name: str, holder: str, lease: float) -> None:
        self._ssm, self._name, self._holder, self._lease = ssm, name, holder, lease
        self._renewed = 0.0
        self._held = False

    def acquire(self, report: Report) -> None:
        """Create the parameter, or take it over from a run that was killed."""
        pause, reported = _FIRST_PAUSE, False
        while not self._create():
            held = self._read()
            if held is not None and (held.is_abandoned or held.age > self._lease) and self._take_over(held):
                why = "its process is gone" if held.is_abandoned else f"it was not renewed for {held.age:.0f} s"
                self._held = True
                report(Note(f"took over the lock of {held.holder}: {why}"))
                return
            if held is not None and not reported:
                report(Note(f"{held.holder} is at work on the same environment; waiting until it is done"))
                reported = True
            interruption.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        self._held = True

    def keep(self, ended: threading.Event, renewal: float, report: Report) -> None:
        """Renew the lock until ``ended``; interrupt the work if that fails for too long."""
        while not ended.wait(renewal):
            if self._is_over():
                report(Note("the lock of the environment was lost, because it could not be renewed in time; stopping"))
                interruption.interrupt()
                return
            with contextlib.suppress(ClientError, BotoCoreError):  # the next renewal may succeed
                self._put(overwrite=True)

    def release(self) -> None:
        """Delete the parameter, if this run created it and no other may have taken it over."""
        if self._held and not self._is_over():
            with contextlib.suppress(ClientError, BotoCoreError):  # it runs out
                self._ssm.delete_parameter(Name=self._name)

    def _is_over(self) -> bool:
        return _now() - self._renewed > self._lease - _MARGIN * min(1.0, self._lease / LEASE)

    def _create(self) -> bool:
        value = self._value()
        try:
            self._put(overwrite=False, value=value)
        except ClientError as problem:
            if error_code(problem) == "TooManyUpdates":
                return False
            if error_code(problem) != "ParameterAlreadyExists":
                raise
            # botocore repeats a request whose answer was lost, so it may be this run's own.
            held = self._read()
            return held is not None and held.value == value
        return True

    def _take_over(self, held: _Held) -> bool:
        """Whether this run wrote the version after the one that was read, or the first of a new parameter."""
        try:
            version = self._put(overwrite=True)
            if version == 1:  # the parameter was deleted meanwhile, and created by this
                return True
            if version != held.version + 1:
                return False
            before = self._ssm.get_parameter(Name=f"{self._name}:{held.version}")["Parameter"]
        except ClientError as problem:
            if error_code(problem) in ("TooManyUpdates", "ParameterNotFound", "ParameterVersionNotFound"):
                return False
            raise
        return bool(before["Value"] == held.value)

    def _read(self) -> _Held | None:
        try:
            answer = self._ssm.get_parameter(Name=self._name)
        except ClientError as problem:
            if error_code(problem) == "ParameterNotFound":
                return None
            raise
        found = answer["Parameter"]
        age = (served_at(answer) - found["LastModifiedDate"]).total_seconds()
        return _Held(found["Version"], found["Value"], age)

    def _put(self, *, overwrite: bool, value: str = "") -> int:
        started = _now()  # before the request, so that the lease never seems longer than it is
        answer = self._ssm.put_parameter(
            Name=self._name,
            Value=value or self._value(),
            Type="String",
            Overwrite=overwrite,
            Description="Held by a run that changes the environment, which deletes it at its end",
        )
        self._renewed = started
        return int(answer["Version"])

    def _value(self) -> str:
        # SSM refuses double braces, which only the holder can have.
        content = {"holder": self._holder[:1000], "id": uuid.uuid4().hex, "machine": _machine(), "process": os.getpid()}
        text = json.dumps(content)
        return text.replace("{{", "{\\u007b").replace("}}", "}\\u007d")


def _now() -> float:
    """Seconds, also those that this machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def _machine() -> str:
    """This boot of this machine, and the namespace that process ids are of. A host name is not unique enough."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return uuid.uuid4().hex  # of this process alone
