"""Reads the folders under ``images/``: which are functions, what each declares, and whether it can become an image.

A folder with ``function.toml`` is a function; a folder with ``__init__.py`` and no ``function.toml`` is a package that
is shipped with every function. Nothing lists the functions twice.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import msgspec

from cfn.names import ENVIRONMENT_MAX, pascal_case
from cfn.settings import Call, FunctionDefinition
from pipeline.assembly.ignore import read_rules
from pipeline.assembly.model import FunctionSource, PythonVersion
from pipeline.assembly.own.entry import judge_handler
from pipeline.assembly.own.foreign_locks import foreign_lock
from pipeline.core.documents import parse_json
from pipeline.core.errors import SourceError
from pipeline.core.files import read_regular
from pipeline.core.tables import WrongTable, convert, read_toml

MANIFEST = "function.toml"
LOCK = "requirements.txt"
SMOKE = Path("events", "smoke.json")
_EVENT_MAX = 6_291_456  # bytes; the payload of a synchronous invocation (Lambda quotas)
# A folder with one of these is meant to be a function.
_PARTS = ("handler.py", "Dockerfile", LOCK, "requirements.in")
# Lambda takes 64 characters, and a function is called <name>-<environment>.
NAME_MAX = 64 - ENVIRONMENT_MAX - 1
# Stricter than ECR (which also takes ".", "_" and "/"): the name is a function, a log group and a logical id as well.
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_ACTION = re.compile(r"[A-Z][A-Za-z0-9]*\*?")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
# Reserved by Lambda (developer guide, "Defined runtime environment variables").
_RESERVED = frozenset(
    {
        *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV"),
        *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
        *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
    }
)
# Set on every function by the pipeline stack.
_OURS = frozenset({"ENVIRONMENT", "TABLE_NAME", "IMAGE_DIGEST", "POWERTOOLS_SERVICE_NAME"})
# All variables of a function together, in bytes (Lambda quotas).
_VARIABLES_MAX = 4096


class _Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    service: str
    actions: list[str]
    resource: str


class _Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``function.toml``. memory in MB, timeout in seconds; milliseconds: of one invocation under load."""

    handler: str
    description: str = ""
    memory: int = 1769
    timeout: int = 60
    milliseconds: int = 100
    vpc: bool | None = None
    calls: list[_Call] = []
    environment: dict[str, str] = {}


def looks_like_functions(images: Path) -> bool:
    """Whether a folder in ``images`` is a function, or is meant to become one. False where it cannot be read."""
    try:
        return any((folder / name).exists() for folder in images.iterdir() for name in (MANIFEST, *_PARTS))
    except OSError:
        return False


def find_sources(images: Path, *, python: PythonVersion | None = None) -> tuple[FunctionSource, ...]:
    """Every function below ``images``, by name. ``python`` is the version that will run them (default: this one).

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
            source, found = _read_source(folder, shared, python)
            findings += found
            if source is not None:
                sources.append(source)
        elif any((folder / name).exists() for name in _PARTS):
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
            f"Add a folder with a handler and a {MANIFEST}.",
        )
    return tuple(sources)


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
    folder: Path, shared: tuple[Path, ...], python: PythonVersion | None
) -> tuple[FunctionSource | None, list[str]]:
    """The function in ``folder``, or None, and every finding; a function with findings is not used."""
    findings = [f"{folder.name}: {problem}" for problem in _judge_name(folder.name)]
    try:
        manifest = convert(read_toml(folder / MANIFEST), _Manifest)
    except WrongTable as wrong:
        return None, [*findings, *(f"{folder.name}/{MANIFEST}: {problem}" for problem in wrong.findings)]
    except (OSError, ValueError) as problem:
        return None, [*findings, f"{folder.name}/{MANIFEST}: {problem}"]
    findings += [f"{folder.name}/{MANIFEST}: {problem}" for problem in _judge_manifest(manifest)]
    lock = folder / LOCK
    warnings: list[str] = []
    try:
        rules = read_rules(folder)
    except SourceError as error:
        findings.append(f"{folder.name}: {error.why}")
    else:
        elsewhere = lock.is_file() or bool(shared)
        handler = judge_handler(folder, rules, manifest.handler, python, elsewhere=elsewhere)
        findings += [f"{folder.name}: {problem}" for problem in handler.errors]
        warnings += handler.warnings
    if not lock.is_file() and (foreign := foreign_lock(folder)):
        findings.append(f"{folder.name}: {foreign}")
    for package in shared:
        if (folder / package.name).exists() or (folder / f"{package.name}.py").exists():
            findings.append(f"{folder.name}: its own {package.name} would hide the shared package {package.name}")
    definition = FunctionDefinition(
        folder.name,
        manifest.description,
        manifest.memory,
        manifest.timeout,
        manifest.milliseconds,
        tuple(Call(call.service, tuple(call.actions), call.resource) for call in manifest.calls),
        tuple(sorted(manifest.environment.items())),
        manifest.vpc,
    )
    smoke = folder / SMOKE
    if smoke.exists():
        findings += [f"{folder.name}/{SMOKE}: {problem}" for problem in _judge_event(smoke)]
    source = FunctionSource(
        definition,
        folder,
        manifest.handler,
        lock if lock.is_file() else None,
        shared,
        smoke if smoke.exists() else None,
        tuple(warnings),
    )
    return source, findings


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


def _judge_manifest(manifest: _Manifest) -> Iterator[str]:
    if not 128 <= manifest.memory <= 10240:
        yield f"memory = {manifest.memory} is outside Lambda's 128 to 10240 MB"
    if not 1 <= manifest.timeout <= 900:
        yield f"timeout = {manifest.timeout} is outside Lambda's 1 to 900 s"
    elif not 1 <= manifest.milliseconds <= manifest.timeout * 1000:
        yield f"milliseconds = {manifest.milliseconds} is outside 1 and the timeout of {manifest.timeout} s"
    if len(manifest.description) > 256:
        yield f"description has {len(manifest.description)} characters, Lambda takes 256"
    for call in manifest.calls:
        yield from _judge_call(call)
    for name in manifest.environment:
        if not _VARIABLE.fullmatch(name):
            yield f"[environment] {name!r} is no variable that Lambda takes (a letter, then letters, digits and _)"
        elif name in _RESERVED:
            yield f"[environment] {name} is reserved by Lambda"
        elif name in _OURS:
            yield f"[environment] {name} is set by the pipeline stack"
    size = sum(len(name.encode()) + len(value.encode()) for name, value in manifest.environment.items())
    if size > _VARIABLES_MAX:
        yield f"[environment] has {size} bytes, Lambda takes {_VARIABLES_MAX}"


def _judge_call(call: _Call) -> Iterator[str]:
    known = known_services()
    if known and call.service not in known:
        import difflib

        close = difflib.get_close_matches(call.service, known, 1)
        hint = f"; did you mean {close[0]}?" if close else "; use the name that boto3.client() takes"
        yield f"[[calls]] names the unknown service {call.service!r}{hint}"
    if not call.actions:
        yield f"[[calls]] to {call.service} names no action"
    for action in call.actions:
        if not _ACTION.fullmatch(action):
            yield f'[[calls]] to {call.service} has the action {action!r}; write it like "PutItem"'
    if not call.resource:
        yield f"[[calls]] to {call.service} names no resource"


@cache
def known_services() -> frozenset[str]:
    """The services that botocore has data of, by the name ``boto3.client`` takes; empty without botocore."""
    found = importlib.util.find_spec("botocore")
    places = found.submodule_search_locations if found is not None else None
    data = Path(places[0]) / "data" if places else None
    if data is None or not data.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in data.iterdir() if "." not in entry.name)
