"""The command of a worker process: the image's entrypoint and environment, mapped to its unpacked tree.

The process runtime runs a function with its image's files and this machine's Python. Paths in the image are mapped
where Lambda's contract names them (the task root, the module path), or mounted in a sandbox (see ``sandbox``).
"""

from __future__ import annotations

import importlib.machinery
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.local.images.image_store import LocalImage
from pipeline.local.invocation import FunctionConfig

PLACEHOLDER_LABEL = "transaction-pipeline.placeholder"
_PYTHON = re.compile(r"python3?(?:\.(\d+))?")
_OCI_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# Variables with lists of folders, which are mapped; an image's other variables are passed on unchanged.
_PATH_LISTS = ("PYTHONPATH", "LD_LIBRARY_PATH")


class CannotRun(Exception):
    """An image that the process runtime cannot run; the invocation fails with ``error_type``."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """The command of a function's workers, without the Runtime API and temporary folder of each worker.

    rootfs  the image's files; a sandbox mounts them at the image's paths, and ``folder`` is a path in it
    """

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: Path
    rootfs: Path
    version: str = "$LATEST"


def log_stream_name(version: str) -> str:
    """The name of a worker's log stream, in Lambda's form."""
    return f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"


def lambda_variables(function: FunctionConfig, handler: str) -> dict[str, str]:
    """The variables that Lambda defines for every worker of a function.

    A function may set TZ, which is not reserved (Lambda developer guide, "Defined runtime environment variables").
    """
    return {
        "_HANDLER": handler,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TZ": dict(function.environment).get("TZ", ":UTC"),
    }


def refuse_placeholder(function: FunctionConfig, labels: Iterable[tuple[str, str]]) -> None:
    """Raises CannotRun for a function that runs its placeholder image."""
    if dict(labels).get(PLACEHOLDER_LABEL) == "true":
        message = f"{function.name} runs its placeholder image; run `up` to build and release its own"
        raise CannotRun("PlaceholderImage", message)


def interpreter() -> str:
    """This Python without its virtual environment, so that a function uses only its image's packages."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return str(Path(base).resolve())


def inside(rootfs: Path, path: str) -> Path:
    """An absolute path of the image as a path on this machine."""
    return rootfs / os.path.normpath("/" + path).lstrip("/")


def worker_command(function: FunctionConfig, image: LocalImage, endpoint: str, *, mapped: bool = True) -> WorkerCommand:
    """The image's entrypoint as a process of this machine. Raises CannotRun.

    mapped  map the image's paths to its unpacked tree; False in a sandbox, which mounts them unchanged
    ``endpoint`` is the embedded AWS, for the function's SDK.
    """
    refuse_placeholder(function, image.labels)
    machine = _OCI_MACHINES.get(platform.machine().lower(), platform.machine())
    if image.architecture != machine:
        raise CannotRun(
            "Runtime.InvalidArchitecture",
            f"the image of {function.name} is made for {image.architecture} and this machine is {machine}; "
            "build it for the local target, or run it with --runtime docker",
        )
    entry_point = function.entry_point or image.entry_point
    command = function.command or image.command
    arguments = [*entry_point, *command]
    if not arguments:
        raise CannotRun("Runtime.InvalidEntrypoint", f"the image of {function.name} has no entrypoint and no command")
    named = _PYTHON.fullmatch(Path(arguments[0]).name)
    if named is None:
        raise CannotRun(
            "Runtime.InvalidEntrypoint",
            f"the entrypoint of {function.name}'s image is {arguments[0]!r}; the process runtime only runs Python "
            "(python3 -m awslambdaric). Run it with --runtime docker",
        )
    if named[1] is not None and int(named[1]) != sys.version_info.minor:
        raise _wrong_python(function, f"3.{named[1]}")
    variables = dict(image.environment) | dict(function.environment)
    task_root = variables.get("LAMBDA_TASK_ROOT", "/var/task")
    _check_extensions(function, inside(image.rootfs, task_root))
    directory = function.working_directory or image.working_directory
    if not inside(image.rootfs, directory).is_dir():
        raise CannotRun("Runtime.InvalidWorkingDir", f"the image of {function.name} has no folder {directory}")
    root = image.rootfs if mapped else Path("/")
    for name in _PATH_LISTS:
        if name in variables:
            places = [path for path in variables[name].split(":") if path.startswith("/")]
            found = [inside(root, path) for path in places if inside(image.rootfs, path).exists()]
            variables[name] = ":".join(map(str, found))
    variables = {"AWS_ENDPOINT_URL": endpoint} | variables | dict(function.credentials)
    variables |= lambda_variables(function, command[0] if command else "") | {
        "LAMBDA_TASK_ROOT": str(inside(root, task_root)),
        "LAMBDA_RUNTIME_DIR": str(inside(root, "/var/runtime")),
    }
    variables.setdefault("LANG", "C.UTF-8")
    variables.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    # An image's tree is read-only; its byte code is used.
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    # -S: no site-packages of this machine; imports come from the image or the standard library.
    start = (interpreter(), "-S", *arguments[1:])
    return WorkerCommand(start, tuple(variables.items()), inside(root, directory), image.rootfs, function.version)


def _wrong_python(function: FunctionConfig, version: str) -> CannotRun:
    return CannotRun(
        "Runtime.InvalidPython",
        f"the image of {function.name} is made for Python {version} and this machine's is "
        f"3.{sys.version_info.minor}; build it for the local target, or run it with --runtime docker",
    )


def _check_extensions(function: FunctionConfig, task_root: Path) -> None:
    """The file name of the runtime client's extension module says which Python the image was made for."""
    found = [path.name for path in task_root.glob("runtime_client.*so")]
    loadable = tuple(f"runtime_client{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
    if found and not any(name in loadable for name in found):
        tag = re.search(r"cpython-3(\d+)", found[0])
        raise _wrong_python(function, f"3.{tag[1]}" if tag else found[0])
