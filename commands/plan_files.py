"""The files of ``plan --out`` and ``up PLAN``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ReleaseError
from pipeline.core.files import read_regular, storing, write_atomically
from pipeline.release.exact_plan import ExactPlan, decode_plan, encode_plan

if TYPE_CHECKING:
    from pipeline.release.planning import ReleasePlan
    from pipeline.target import Target

# The largest file of a plan; one of two hundred functions has some ten thousand bytes.
_PLAN_MAX = 1 << 20


def place_of(target: Target, by: str) -> str:
    """Account and region, or the embedded AWS and its region. by: the ARN of the caller."""
    place = target.place(by)
    return f"{place}/{target.region}" if target.is_local else place


def require_replaceable(out: Path) -> None:
    """Raise ReleaseError if there is a file at ``out`` that is neither empty nor a plan, such as the settings."""
    try:
        if not out.exists() or (out.is_file() and out.stat().st_size == 0):
            return
    except OSError as problem:  # such as a name that is too long
        raise ReleaseError("no plan was written", f"{out}: {problem.strerror}", "Name another file.") from problem
    try:
        _read(out)
    except ReleaseError as problem:
        raise ReleaseError(
            "no plan was written",
            f"{out} exists and is not a plan that this version reads: {problem.why}",
            "Name another file, or delete that one.",
        ) from problem


def write_plan(planned: ReleasePlan, out: Path) -> None:
    """Write the exact plan. Raises ReleaseError if a stack refuses it, and StorageError."""
    for decision in planned.stacks:
        if decision.decision == "refuse":
            raise ReleaseError("no plan was written", f"{decision.name}: {decision.reason}", "Resolve that first.")
    with storing(out, "name another file"):
        write_atomically(out, encode_plan(planned.exact))


def read_plan(path: Path) -> ExactPlan:
    """The plan in a file. Raises ReleaseError."""
    try:
        return _read(path)
    except ReleaseError as problem:
        raise ReleaseError(problem.what, f"{path}: {problem.why}", problem.next_step) from problem


def _read(path: Path) -> ExactPlan:
    try:
        content = read_regular(path, _PLAN_MAX)
    except OSError as problem:
        raise ReleaseError(
            "nothing was deployed: the plan cannot be read", str(problem.strerror), "Name a file of plan --out."
        ) from problem
    return decode_plan(content)
