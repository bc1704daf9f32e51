"""How much is tried, and which tests share a worker.

``THOROUGH=1`` runs everything, with several times as many examples in the property tests; .ci/run sets it. Without it
most tests that start servers are left out, and the summary counts them.
``CI=1``, which .ci/run sets, too, draws the same examples each time: there one commit has one verdict, and new examples
are what everybody else's runs are for.
"""

from __future__ import annotations

import fnmatch
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# A shell starts background commands with Ctrl-C ignored, and child processes inherit that. Tests send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# SIGTERM, which ends a run of .ci/run, lets fixtures end their servers, as Ctrl-C does.
signal.signal(signal.SIGTERM, signal.default_int_handler)


def is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0", "false")


ALL = is_set("THOROUGH")
settings.register_profile(
    "ours",
    max_examples=100 if ALL else 30,
    derandomize=is_set("CI"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")


def examples(share: float) -> int:
    """A part of the profile's number of examples, for a test whose examples are dear or cheap."""
    return max(5, round(settings.default.max_examples * share)) if settings.default else 30


# Groups of files whose tests share servers: each group runs on one worker, which starts them once.
SHARED = {
    "engine": ("tests/containers/*",),
    "release": tuple(
        f"tests/functional/release/test_{name}.py"
        for name in ("down", "faults", "killed", "promote_killed", "rehearsal", "together")
    ),
    "environment": ("tests/functional/environment/*",),
    "entrances": ("tests/functional/entrances/*",),
    # Not servers, but proofs that take longer than all other unit tests of one worker.
    "proof": ("tests/unit/verification/test_proof.py",),
}


WITH_SERVERS = ("tests/functional/", "tests/containers")
# The files below tests/functional that run without THOROUGH: one road through each part of the program, in two minutes
# together with the unit tests. The others are minutes of kills, faults, hostile inputs and large environments. A file
# or folder named on the command line runs anyway; the marker at_length leaves out single tests.
ESSENTIAL = {
    "assembly": ("contents", "dependencies", "determinism", "difference", "packages"),
    "ci": ("run",),
    "commands": ("completion", "process"),
    "local": ("access", "emulator", "patches", "strict"),
    "projects": ("init",),
    "registry": ("debian", "ecr", "killed_push", "proof"),
    "release": ("road",),
    "stacks": ("apply",),
    "workflow": ("explain", "submissions"),
}
# Tests without servers that take a second and more each.
DEAR = (
    "tests/unit/cfn/test_lint.py",
    *(f"tests/unit/rules/test_{name}.py" for name in ("builtin", "never_crash", "own_templates")),
    "tests/unit/verification/test_proof.py",
)


# Projects that tests build; a file of theirs that is called like a test is none of ours.
PROJECTS = ("packages", "projects")
collect_ignore = list(PROJECTS)

# The files that pytest found tests in, before any is left out.
COLLECTED = pytest.StashKey[set[Path]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests that start servers come first; without THOROUGH those at length stay out."""
    config.stash[COLLECTED] = {item.path for item in items}
    items.sort(key=lambda item: "tests/unit" in item.nodeid)
    if ALL:
        return
    arguments = [str(argument).partition("::")[0].rstrip("/") for argument in config.invocation_params.args]
    named = [each for each in arguments if each.endswith(".py")]
    folders = [f"{each}/*" for each in arguments if each.startswith(WITH_SERVERS)]

    essential = [f"tests/functional/{folder}/test_{name}.py" for folder, names in ESSENTIAL.items() for name in names]

    def waits(item: pytest.Item) -> bool:
        path = item.nodeid.partition("::")[0]
        if any(path.endswith(each) for each in named) or _is_one_of(path, folders):
            return False
        if item.get_closest_marker("at_length") is not None or _is_one_of(path, DEAR):
            return True
        return path.startswith(WITH_SERVERS) and not _is_one_of(path, essential)

    left_out = [item for item in items if waits(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_one_of(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, each) for each in patterns)


def pytest_report_header() -> str:
    return "all tests" if ALL else "without the tests at length; THOROUGH=1 runs them too"


class ByServers(LoadScopeScheduling):
    """The tests of one file that start servers stay on one worker, which starts them once; others go anywhere.

    Not by xdist's own marks: pytest 9.2 keeps node ids where xdist 3.8 does not write the mark, so its groups are lost.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        for group, patterns in SHARED.items():
            if _is_one_of(path, patterns):
                return group
        return nodeid if "tests/unit" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    return ByServers(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends every embedded AWS that a test started by a command, and could not end because the run was stopped."""
    factory = getattr(config, "_tmp_path_factory", None)
    if hasattr(config, "workerinput") or factory is None:
        return
    left = [
        state.parent
        for depth in range(1, 5)
        for state in factory.getbasetemp().glob("/".join(["*"] * depth) + "/local.json")
    ]
    if left:
        from pipeline.local.host.control import stop_local

        for folder in left:
            stop_local(folder)
