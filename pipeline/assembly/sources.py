"""Reads the folders under ``images/``: which are functions, what each declares, and whether it can become an image.

A folder with ``function.toml`` is a function; a folder with ``__init__.py`` and no ``function.toml`` is a package that
is shipped with every function. A function can run the code of another folder (``code`` of function.toml), which need
not be a function itself. Nothing lists the functions twice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from cfn.names import ENVIRONMENT_MAX, pascal_case
from cfn.settings import Entrance
from pipeline.assembly.ignore import read_rules
from pipeline.assembly.manifest import MANIFEST as MANIFEST
from pipeline.assembly.manifest import Manifest, definition_of, judge_manifest, read_manifest
from pipeline.assembly.model import FunctionSource, Prebuilt, PythonVersion
from pipeline.assembly.own.entry import judge_handler
from pipeline.assembly.own.foreign_locks import foreign_lock
from pipeline.assembly.prebuilt import judge_beside, parse_prebuilt
from pipeline.core.documents import parse_json
from pipeline.core.errors import SourceError
from pipeline.core.files import read_regular
from pipeline.core.shown import first_few, shown
from pipeline.core.tables import WrongTable

LOCK = "requirements.txt"
DOCKERFILE = "Dockerfile"
SMOKE = Path("events", "smoke.json")
_EVENT_MAX = 6_291_456  # bytes; the payload of a synchronous invocation (Lambda quotas)
# A folder with one of these is meant to be a function.
_PARTS = ("handler.py", DOCKERFILE, LOCK, "requirements.in")
# Lambda takes 64 characters, and a function is called <name>-<environment>.
NAME_MAX = 64 - ENVIRONMENT_MAX - 1
# Stricter than ECR (which also takes ".", "_" and "/"): the name is a function, a log group and a logical id as well.
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def looks_like_functions(images: Path) -> bool:
    """Whether a folder in ``images`` is a function, or is meant to become one. False where it cannot be read."""
    try:
        return any((folder / name).exists() for folder in images.iterdir() for name in (MANIFEST, *_PARTS))
    except OSError:
        return False


def find_sources(
    images: Path,
    *,
    python: PythonVersion | None = None,
    environment: str = "",
    entrances: Collection[Entrance] = (),
) -> tuple[FunctionSource, ...]:
    """Every function below ``images``, by name.

    python       the version that will run them (default: this one)
    environment  whose ``[environments.NAME]`` of ``function.toml`` counts
    entrances    those that the environment has; the functions of the others are judged and left out

    Raises SourceError with the findings of all folders at once.
    """
    try:
        folders = sorted(
            entry for entry in images.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))
        )
    except OSError as error:
        raise SourceError(
            "no functions were found",
            f"{images} cannot be listed ({error.strerror})",
            "Run this in the project's folder, or name the folder that holds the functions.",
        ) from error
    shared = tuple(each for each in folders if (each / "__init__.py").is_file() and not (each / MANIFEST).exists())
    findings: list[str] = []
    sources: list[FunctionSource] = []
    for folder in folders:
        if folder in shared:
            findings += _judge_package(folder)
        elif (folder / MANIFEST).exists():
            source, found = _read_source(folder, shared, python, environment)
            findings += found
            if source is not None and source.definition.entrance in (None, *entrances):
                sources.append(source)
    used = {source.code_folder for source in sources}
    for folder in folders:
        if folder not in (*shared, *used) and not (folder / MANIFEST).exists() and _has_parts(folder):
            findings.append(f"{folder.name}: it has no {MANIFEST}, which says what the function's handler is")
    findings += _twins(source.name for source in sources)
    if findings:
        raise SourceError(
            "no image was built", _listed(findings), f"Fix these errors; docs/images.md describes {MANIFEST}."
        )
    if not sources:
        raise SourceError(
            "no functions were found",
            f"no folder below {images} has a {MANIFEST}",
            f"Add a folder with a {MANIFEST}, and a handler or the name of an image.",
        )
    return tuple(sources)


def _has_parts(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PARTS)


def _listed(findings: list[str]) -> str:
    if len(findings) == 1:
        return findings[0]
    return f"{len(findings)} things are wrong" + "".join(f"\n  - {finding}" for finding in findings) + "\n"


def _twins(names: Iterable[str]) -> Iterator[str]:
    """Two names with one logical id, such as ``a-1`` and ``a1``."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(pascal_case(name), name)
        if other != name:
            yield f"{name}: CloudFormation would call it {pascal_case(name)}, like {other}; rename one of them"


def _judge_package(folder: Path) -> Iterator[str]:
    if not folder.name.isidentifier():
        yield f"{folder.name}: a shared package needs a name that Python can import"


def _read_source(
    folder: Path, shared: tuple[Path, ...], python: PythonVersion | None, environment: str
) -> tuple[FunctionSource | None, list[str]]:
    """The function in ``folder``, or None, and every finding; a function with findings is not used."""
    findings = [f"{folder.name}: {problem}" for problem in _judge_name(folder.name)]
    try:
        manifest = read_manifest(folder / MANIFEST)
    except WrongTable as wrong:
        return None, [*findings, *(f"{folder.name}/{MANIFEST}: {problem}" for problem in wrong.findings)]
    except (OSError, ValueError) as problem:
        return None, [*findings, f"{folder.name}/{MANIFEST}: {problem}"]
    findings += [f"{folder.name}/{MANIFEST}: {problem}" for problem in judge_manifest(manifest)]
    code = folder.parent / manifest.code if manifest.code else folder
    lock: Path | None = code / LOCK
    warnings: tuple[str, ...] = ()
    prebuilt: Prebuilt | None = None
    if manifest.image:
        lock, shared = None, ()
        try:
            prebuilt = parse_prebuilt(manifest.image, folder)
        except ValueError as problem:
            findings.append(f"{folder.name}/{MANIFEST}: image: {problem}")
        findings += [f"{folder.name}: {problem}" for problem in judge_beside(folder)]
    elif not manifest.handler:
        lock, shared = None, ()
        if not (folder / DOCKERFILE).is_file():
            findings.append(
                f"{folder.name}/{MANIFEST}: it has no handler, no image that exists already, and no Dockerfile"
            )
    elif manifest.code and (wrong_place := _judge_place(folder, manifest.code, shared)):
        return None, [*findings, f"{folder.name}/{MANIFEST}: code: {wrong_place}"]
    else:
        errors, warnings = _judge_code(code, manifest, shared, python)
        findings += [f"{folder.name}: {problem}" for problem in errors]
    definition = definition_of(folder.name, manifest, environment)
    smoke = folder / SMOKE
    if smoke.exists():
        findings += [f"{folder.name}/{SMOKE}: {problem}" for problem in _judge_event(smoke)]
    source = FunctionSource(
        definition,
        folder,
        manifest.handler,
        lock if lock is not None and lock.is_file() else None,
        shared,
        smoke if smoke.exists() else None,
        warnings,
        prebuilt,
        code if manifest.code else None,
    )
    return source, findings


def _judge_place(folder: Path, code: str, shared: tuple[Path, ...]) -> str:
    """What is wrong with another folder as the place of the code, or with the function's own files; "" for nothing."""
    place = folder.parent / code
    if not _FOLDER.fullmatch(code) or not place.is_dir():
        others = [each.name for each in folder.parent.iterdir() if each.is_dir() and each != folder]
        close = difflib.get_close_matches(code, others, 1)
        return f"{shown(code)} is no folder beside {folder.name}" + (f"; did you mean {close[0]}?" if close else "")
    if place == folder:
        return "it names its own folder; leave it out"
    if place in shared:
        return f"{code} is a shared package, which ships with every function; name a folder without __init__.py"
    if unused := [entry.name for entry in folder.glob("*.py")] + [name for name in (LOCK,) if (folder / name).exists()]:
        return f"{first_few(sorted(unused))} of {folder.name} would not ship, because its code is that of {code}"
    return ""


def _judge_code(
    folder: Path, manifest: Manifest, shared: tuple[Path, ...], python: PythonVersion | None
) -> tuple[list[str], tuple[str, ...]]:
    """The errors and the warnings of a function that is built from its folder."""
    errors: list[str] = []
    warnings: list[str] = []
    locked = (folder / LOCK).is_file()
    try:
        rules = read_rules(folder)
    except SourceError as error:
        errors.append(error.why)
    else:
        handler = judge_handler(folder, rules, manifest.handler, python, elsewhere=locked or bool(shared))
        errors += handler.errors
        warnings += handler.warnings
    if not locked and (foreign := foreign_lock(folder)):
        errors.append(foreign)
    for package in shared:
        if (folder / package.name).exists() or (folder / f"{package.name}.py").exists():
            errors.append(f"its own {package.name} would hide the shared package {package.name}")
    return errors, tuple(warnings)


def _judge_event(path: Path) -> Iterator[str]:
    try:
        parse_json(read_regular(path, _EVENT_MAX))
    except (OSError, ValueError) as problem:
        yield f"it is not a JSON event: {problem}"


def _judge_name(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"ECR needs a name of a-z, 0-9 and single hyphens that starts with a letter, not {name!r}"
    if len(name) > NAME_MAX:
        yield f"its name has {len(name)} characters; with the environment's name only {NAME_MAX} fit Lambda's 64"
