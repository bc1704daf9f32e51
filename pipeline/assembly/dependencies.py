"""Locked requirements into a folder of wheels' files for the target, by uv; nothing is ever built from source.

The lock is a requirements file with one ``name==version`` and its SHA-256 hashes per package, as
``uv pip compile --universal --generate-hashes`` writes it; markers choose what the target needs.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cfn.settings import Architecture
from pipeline.assembly.model import Platform
from pipeline.core.children import run_child
from pipeline.core.errors import DependencyError, StorageError
from pipeline.core.files import storing

# Lambda's Python 3.12 and newer run on Amazon Linux 2023 with glibc 2.34; 2.28 is what wheels are commonly built for.
_GLIBC = "manylinux_2_28"
_COMPILE = "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})(?:\[[^\]]*\])?\s*(?P<how>===?|@)\s*(?P<what>[^\s;]+)(?:\s*;\s*(?P<marker>.*))?"
)
_HASH = re.compile(r"--hash=sha256:(?P<hex>[0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One line of a lock. ``version`` is "" for a direct URL, ``url`` is "" for a package from an index."""

    name: str
    version: str
    url: str
    hashes: tuple[str, ...]
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """A requirements file that was read and found to pin everything by hash.

    wanted  the requirements of the ``.in`` file beside it, from which it was compiled
    """

    path: Path
    content: bytes
    packages: tuple[LockedPackage, ...]
    wanted: tuple[str, ...] = ()


def read_lock(path: Path) -> Lock:
    """Raises DependencyError, with every line that pins nothing, for a file that is not hash-locked throughout."""
    what = f"the requirements of {path.parent.name} were not read"
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DependencyError(what, f"{path} cannot be read: {error}", f"Write it again: `{_COMPILE}`.") from error
    packages, problems = _parse_lock(text)
    if problems:
        raise DependencyError(
            what, f"{path} is not hash-locked: " + "; ".join(problems), f"Do not edit it; write it again: `{_COMPILE}`."
        )
    return Lock(path, content, packages, _wanted(path.with_suffix(".in")))


@lru_cache(maxsize=64)  # many functions have the same one, and each is read for its layer and for its bill of materials
def _parse_lock(text: str) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    """The packages, and what is wrong with which line."""
    packages, problems = [], []
    for line, requirement in _logical_lines(text):
        found = _parse(requirement)
        if isinstance(found, LockedPackage):
            packages.append(found)
        elif found:
            problems.append(f"line {line}: {found}")
    return tuple(packages), tuple(problems)


def _wanted(path: Path) -> tuple[str, ...]:
    """The requirements of an ``.in`` file, without its options; none where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line for _, line in _logical_lines(text) if not line.startswith("-"))


def judge_age(lock: Lock) -> None:
    """Raises DependencyError for a lock that was not compiled again after its ``.in`` file was changed.

    Such a lock installs without a complaint, and the function fails where it imports what is missing.
    """
    if not lock.wanted:
        return
    from packaging.requirements import InvalidRequirement, Requirement  # costs more than a build without changes
    from packaging.version import InvalidVersion

    problems = []
    for text in lock.wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # a path or an address: the resolver's matter
            continue
        versions = [package.version for package in lock.packages if package.name == _canonical(requirement.name)]
        try:
            fits = any(not version or requirement.specifier.contains(version, True) for version in versions)
        except InvalidVersion:
            continue
        if not versions:
            problems.append(f"{text} is not in it")
        elif not fits:
            problems.append(f"{text} is wanted, and it has {', '.join(versions)}")
    if problems:
        raise DependencyError(
            f"the dependencies of {lock.path.parent.name} were not installed",
            f"{lock.path} is older than its {lock.path.with_suffix('.in').name}: {'; '.join(problems)}",
            f"Write it again: `{_COMPILE}`.",
        )


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments, continued lines joined, each with the number where it begins."""
    waiting, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start if waiting else number
        bare = re.sub(r"(?:^|\s)#.*", "", line).rstrip()
        if bare.endswith("\\"):
            waiting += bare[:-1] + " "
            continue
        if (waiting + bare).strip():
            yield start, (waiting + bare).strip()
        waiting = ""
    if waiting.strip():
        yield start, waiting.strip()


def _parse(line: str) -> LockedPackage | str:
    """The package of a line, "" for an option that changes nothing that is shipped, or what is wrong with it."""
    if line.startswith("-"):
        option = line.split()[0].split("=")[0]
        if option in ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--only-binary"):
            return ""
        return f"the option {option} does not belong into a lock"
    requirement, _, hashes = line.partition("--hash=")
    match = _REQUIREMENT.fullmatch(requirement.strip())
    if match is None or "*" in match["what"]:
        return f"{requirement.strip()!r} is not pinned with =="
    digests = tuple(_HASH.findall("--hash=" + hashes)) if hashes else ()
    if not digests or _HASH.sub("", "--hash=" + hashes).strip():
        return f"{match['name']} has no hash, or one that is not 64 hexadecimal digits of SHA-256"
    version, url = ("", match["what"]) if match["how"] == "@" else (match["what"], "")
    return LockedPackage(_canonical(match["name"]), version, url, digests, (match["marker"] or "").strip())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_FINDING = threading.Lock()


def _uv() -> str:
    """The resolver's program. One thread at a time: Python 3.11 fills its table of settings while others read it."""
    from uv import find_uv_bin  # the package costs milliseconds that a build with nothing to install need not pay

    with _FINDING:
        return find_uv_bin()


def install(lock: Lock, platform: Platform, target: Path, *, offline: bool = False) -> None:
    """Install the lock's wheels for ``platform`` into the new folder ``target``; byte code is not compiled.

    Without a network, wheels in uv's cache are enough; ``offline`` asks no index at all. Raises DependencyError when a
    package has no wheel for the target, a hash differs, a dependency is missing from the lock or the index cannot be
    reached; StorageError when the disk is full.
    """
    machine = "aarch64" if platform.architecture is Architecture.ARM64 else "x86_64"
    uv = _uv()
    with storing(target.parent), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # What was read is installed, even if the lock is written to meanwhile.
        copy = Path(folder) / "requirements.txt"
        copy.write_bytes(lock.content)
        command = [uv, "pip", "install", "--target", str(target), "--requirement", str(copy)]
        command += ["--require-hashes", "--only-binary", ":all:", "--no-compile", "--no-progress", "--color", "never"]
        command += ["--python", sys.executable, "--python-version", str(platform.python)]
        command += ["--python-platform", f"{machine}-{_GLIBC}"]
        said = _refused([*command, "--offline"] if offline else command)
        if said is not None and not offline and _NETWORK.search(said) and _refused([*command, "--offline"]) is None:
            said = None
    if said is not None:
        raise _refusal(lock, platform, said)


def _refused(command: list[str]) -> str | None:
    """What uv says of its failure; None if it did what it was given to do."""
    done = run_child(command)
    return done.stderr.decode(errors="replace") if done.returncode != 0 else None


_NETWORK = re.compile(r"network was disabled|error sending request|Failed to fetch|dns error|timed out")
_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")
# What uv says, and what can be done about it; the first that fits counts.
_CURES = (
    (_NETWORK, "Connect to the package index (UV_DEFAULT_INDEX names another one), or build where it is cached."),
    (
        re.compile("Hash mismatch"),
        f"The lock was edited, or the file on the index changed. Write the lock again: `{_COMPILE}`.",
    ),
    (re.compile("no trusted hash"), f"The lock leaves it out. Write the lock again: `{_COMPILE}`."),
    (
        re.compile("wheel"),
        "Choose a version that has a wheel for {platform}, or replace the package: nothing is built from source.",
    ),
)


def _refusal(lock: Lock, platform: Platform, said: str) -> DependencyError | StorageError:
    """uv's own words, which name the package, and the next step."""
    what = f"the dependencies of {lock.path.parent.name} were not installed for {platform}"
    if _FULL.search(said):
        return StorageError(what, "the disk is full", "Free some space, or set TRANSACTION_PIPELINE_CACHE elsewhere.")
    # "error: …", "cause: …" and "hint: …", each up to the next one; hints speak of uv's options.
    parts = re.split(r"^\s*(error|cause|hint|warning): ", said, flags=re.MULTILINE)
    parts_said = [" ".join(text.split()) for kind, text in zip(parts[1::2], parts[2::2], strict=True) if kind in _TOLD]
    why = ": ".join(parts_said) or " ".join(said.split()) or "uv gave no reason"
    step = next((cure for pattern, cure in _CURES if pattern.search(said)), None)
    if step is None:
        return DependencyError(what, why, f"Mend requirements.in and write the lock again: `{_COMPILE}`.")
    return DependencyError(what, why, step.format(platform=platform))


_TOLD = ("error", "cause")
