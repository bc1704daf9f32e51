"""Locked requirements into a folder of wheels' files for the target, by uv; nothing is ever built from source.

The lock is a requirements file with one ``name==version`` and its SHA-256 hashes per package, as
``uv pip compile --universal --generate-hashes`` writes it; markers choose what the target needs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cfn.settings import Architecture
from pipeline.assembly.facts.glibc import glibc_of, manylinux_of
from pipeline.assembly.model import Platform
from pipeline.core.children import run_child
from pipeline.core.errors import DependencyError, StorageError
from pipeline.core.files import storing
from pipeline.core.shown import without_secrets

_COMPILE = "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})(?:\[[^\]]*\])?\s*(?P<how>===?|@)\s*(?P<what>[^\s;]+)(?:\s*;\s*(?P<marker>.*))?"
)
_INCLUDES = re.compile(r"(?:-r|-c|--requirements?|--constraints?)[ =]*(?P<path>[^\s#]+)")
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

    wanted  the ``.in`` file beside it, from which it was compiled, and the files which that includes
    """

    path: Path
    content: bytes
    packages: tuple[LockedPackage, ...]
    wanted: tuple[bytes, ...] = ()


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


def _wanted(path: Path, seen: frozenset[Path] = frozenset()) -> tuple[bytes, ...]:
    """The content of an ``.in`` file and of every file that it includes; () where there is no such file."""
    try:
        content = path.read_bytes()
    except OSError:
        return ()
    contents = [content]
    for _, line in _logical_lines(content.decode("utf-8-sig", errors="replace")):
        included = _INCLUDES.match(line)
        if included is not None and (inner := path.parent / included["path"]) not in seen:
            contents += _wanted(inner, seen | {path, inner})
    return tuple(contents)


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
        return f"{without_secrets(requirement.strip())!r} is not pinned with =="
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
    with storing(target.parent), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # What was read is installed, even if the lock is written to meanwhile.
        copy = Path(folder) / "requirements.txt"
        copy.write_bytes(lock.content)
        command = [*_pip_install(platform, target), "--requirement", str(copy), "--require-hashes", "--no-compile"]
        said = _refused([*command, "--offline"] if offline else command)
        if said is not None and not offline and _NETWORK.search(said) and _refused([*command, "--offline"]) is None:
            said = None
    if said is not None:
        raise _refusal(lock, platform, said)


def judge_lock(lock: Lock, platform: Platform, installed: Path) -> None:
    """Raises DependencyError for a lock whose installation lacks something that its ``.in`` file asks for.

    The resolver itself judges, without a network: markers, extras and included files mean what they mean to it. Such a
    lock installs without a complaint, and the function fails where it imports what is missing.
    """
    if not lock.wanted:
        return
    wanted = lock.path.with_suffix(".in")
    command = [*_pip_install(platform, installed), "--requirement", str(wanted), "--dry-run", "--no-index", "--offline"]
    # Wheels lying elsewhere must not stand in for what the lock leaves out.
    surroundings = {name: value for name, value in os.environ.items() if name not in ("UV_FIND_LINKS", "UV_INDEX")}
    done = run_child(command, environment=surroundings)
    said = done.stderr.decode(errors="replace")
    if done.returncode == 0 and "Would make no changes" in said:
        return
    missing = re.findall(r"^ \+ (\S+)", said, flags=re.MULTILINE)
    why = f"{', '.join(missing)} is missing from it" if missing else _told(said)
    raise DependencyError(
        f"the dependencies of {lock.path.parent.name} were not installed",
        f"{lock.path} does not satisfy its {wanted.name}: "
        + why.replace("in the provided package locations", "in the lock"),
        f"Write it again: `{_COMPILE}`.",
    )


def _pip_install(platform: Platform, target: Path) -> list[str]:
    """The resolver's command, for wheels of ``platform`` in ``target``."""
    machine = "aarch64" if platform.architecture is Architecture.ARM64 else "x86_64"
    command = [_uv(), "pip", "install", "--target", str(target), "--only-binary", ":all:"]
    command += ["--python", sys.executable, "--python-version", str(platform.python)]
    command += ["--python-platform", f"{machine}-{manylinux_of(platform.python)}"]
    return [*command, "--no-progress", "--color", "never"]


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
        "Choose a version that has a wheel for {platform} with glibc {glibc} or older, or replace the package: nothing "
        "is built from source. Python 3.12 and newer have glibc 2.34, and take newer wheels.",
    ),
)


def _refusal(lock: Lock, platform: Platform, said: str) -> DependencyError | StorageError:
    """uv's own words, which name the package, and the next step."""
    what = f"the dependencies of {lock.path.parent.name} were not installed for {platform}"
    if _FULL.search(said):
        return StorageError(what, "the disk is full", "Free some space, or set TRANSACTION_PIPELINE_CACHE elsewhere.")
    why = _told(said)
    step = next((cure for pattern, cure in _CURES if pattern.search(said)), None)
    if step is None:
        return DependencyError(what, why, f"Fix requirements.in and write the lock again: `{_COMPILE}`.")
    return DependencyError(what, why, step.format(platform=platform, glibc=glibc_of(platform.python)))


_TOLD = ("error", "cause")


def _told(said: str) -> str:
    """The reason that uv gives, on one line."""
    # "error: …", "cause: …" and "hint: …", each up to the next one; hints speak of uv's options.
    parts = re.split(r"^\s*(error|cause|hint|warning): ", said, flags=re.MULTILINE)
    reasons = [" ".join(text.split()) for kind, text in zip(parts[1::2], parts[2::2], strict=True) if kind in _TOLD]
    return ": ".join(reasons) or " ".join(said.split()) or "uv gave no reason"
