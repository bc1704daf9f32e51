"""Prepare the build contexts of docker compose, so that builds fetch nothing.

    python -m pipeline.local.containers.compose_context [--environment-file .env]

    CONTEXTS/<function>/   Dockerfile, dependencies/, shared/, function/ — the same files as in a daemonless image
    CONTEXTS/aws/          Dockerfile, site-packages/, project/ — the embedded AWS and the deployer

The variables are those of ``.env.example``: of the environment, of ``.env``, else the defaults.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform as host_platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from cfn.settings import Architecture
from pipeline.assembly.dependencies.installation import Lock, install, read_lock
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import DependencyError, PipelineError, SettingsError
from pipeline.core.files import cache_folder
from pipeline.engine.build_context import lay_out_context
from pipeline.local.host_state import new_root_key, open_private
from pipeline.oci.blobs import BlobStore

ROOT = Path(__file__).resolve().parents[3]
# What the service imports, which excludes building images and container engines.
_PACKAGES = ("boto3", "click", "cyclonedx-python-lib", "ministack", "msgspec", "packaging", "pathspec", "rich",
             "tenacity", "troposphere", "urllib3")  # fmt: skip
_PROJECT = ("bootstrap.py", "cfn", "commands", "pipeline", "images", "environments.toml")
# The names of the access key of the embedded AWS's root.
ROOT_KEY = ("TRANSACTION_PIPELINE_ACCESS_KEY_ID", "TRANSACTION_PIPELINE_SECRET_ACCESS_KEY")
_ARCHITECTURES = {"amd64": Architecture.X86_64, "arm64": Architecture.ARM64}


def read_variables(root: Path, chosen: Path | None = None) -> dict[str, str]:
    """The variables of ``.env.example``, ``.env`` (or ``chosen``) and the environment; later ones take precedence."""
    variables = _read(root / ".env.example")
    own = chosen or root / ".env"
    if own.exists() or chosen is not None:
        variables |= _read(own)
    return variables | {name: os.environ[name] for name in variables if name in os.environ}


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(
            "the compose variables were not read", f"{path} cannot be read: {error.strerror}", "Fix or remove it."
        ) from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def platform_of(variables: Mapping[str, str]) -> Platform:
    """The platform of the images. Raises SettingsError."""
    architecture = _ARCHITECTURES.get(variables["ARCHITECTURE"])
    if architecture is None:
        raise SettingsError(
            "the compose variables cannot be used",
            f"ARCHITECTURE is {variables['ARCHITECTURE']!r}",
            f"Write one of {', '.join(_ARCHITECTURES)}.",
        )
    try:
        return Platform(architecture, PythonVersion.parse(variables["BASE_PYTHON"]))
    except ValueError as error:
        raise SettingsError(
            "the compose variables cannot be used", f"BASE_PYTHON: {error}", "Write the Python of BASE_IMAGE."
        ) from error


def write_variables(root: Path) -> Path | None:
    """Write this machine's architecture and a random key for the embedded AWS into ``.env``.

    Adds only missing variables to an existing file. Returns the path if it was written. Only the owner may read it.
    """
    path = root / ".env"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before = text
    if not text:
        machine = "arm64" if host_platform.machine().lower() in ("aarch64", "arm64") else "amd64"
        text = (root / ".env.example").read_text(encoding="utf-8")
        text = re.sub(r"(?m)^ARCHITECTURE=.*$", f"ARCHITECTURE={machine}", text)
    if not re.search(rf"(?m)^{ROOT_KEY[0]}=.", text):
        key = new_root_key()
        lines = [f"{ROOT_KEY[0]}={key.access_key_id}", f"{ROOT_KEY[1]}={key.secret_access_key}"]
        text = text.rstrip("\n") + "\n\n# The root of the embedded AWS, made at random.\n" + "\n".join(lines) + "\n"
    if text == before:
        return None
    with open_private(path) as file:
        file.write(text.encode())
    return path


def prepare_contexts(root: Path, variables: Mapping[str, str], store: BlobStore) -> list[Path]:
    """Write all contexts and return their folders. Raises SourceError, DependencyError, StorageError."""
    platform = platform_of(variables)
    contexts = root / variables["CONTEXTS"]
    contexts.mkdir(parents=True, exist_ok=True)
    (contexts / ".gitignore").write_text("*\n")
    sources = find_sources(root / "images", python=platform.python)
    slim = Slim.for_sources(sources)
    made = []
    for source in (each for each in sources if each.handler):
        lay_out_context(source, platform, store, contexts / source.name, slim)
        made.append(contexts / source.name)
    made.append(_write_service(root, platform, contexts / "aws"))
    return made


def _write_service(root: Path, platform: Platform, folder: Path) -> Path:
    """The context of the embedded AWS. Its packages are installed again only if the lock or the platform changed."""
    lock = locked_closure(read_lock(root / "requirements.lock"), _PACKAGES, platform.python)
    mark = f"{platform}\n" + "".join(sorted(lock))
    packages, marked = folder / "site-packages", folder / "installed.txt"
    if not marked.exists() or marked.read_text() != mark:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as work:
            file = Path(work) / "compose" / "requirements.txt"
            file.parent.mkdir()
            file.write_text("".join(lock))
            install(Lock(file, file.read_bytes(), ()), platform, packages)
        shutil.rmtree(packages / "bin", ignore_errors=True)
        marked.write_text(mark)
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in _PROJECT:
        if (root / name).is_dir():
            shutil.copytree(root / name, project / name, ignore=ignored)
        else:
            shutil.copy(root / name, project)
    shutil.copy(root / "compose" / "aws" / "start.py", project)
    shutil.copy(root / "compose" / "aws" / "Dockerfile", folder)
    return folder


def locked_closure(lock: Lock, names: Iterable[str], python: PythonVersion) -> list[str]:
    """The lock's lines for packages and everything they need on ``python``, by this environment's metadata."""
    environment = {
        "python_version": str(python), "python_full_version": f"{python}.0", "sys_platform": "linux",
        "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
    }  # fmt: skip
    wanted: set[str] = set()
    pending = [(name, "") for name in names]
    seen: set[tuple[str, str]] = set()
    while pending:
        name, extra = pending.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        wanted.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform; the lock's own marker decides
        for requirement in map(Requirement, needs):
            if requirement.marker is None or requirement.marker.evaluate(environment | {"extra": extra}):
                pending += [(requirement.name, each) for each in ("", *requirement.extras)]
    locked = {package.name: package for package in lock.packages}
    missing = sorted(set(map(str, names)) - set(locked))
    if missing:
        raise DependencyError("the compose contexts were not made", f"{', '.join(missing)} is not locked", "make lock")
    lines = []
    for name in sorted(wanted & set(locked)):
        package = locked[name]
        marker = f" ; {package.marker}" if package.marker else ""
        hashes = "".join(f" --hash=sha256:{value}" for value in package.hashes)
        lines.append(f"{package.name}=={package.version}{marker}{hashes}\n")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="pipeline.local.containers.compose_context", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--environment-file", type=Path, help="instead of .env")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.environment_file is None and (written := write_variables(ROOT)) is not None:
            sys.stderr.write(f"{written.name} was written for this machine\n")
        variables = read_variables(ROOT, chosen.environment_file)
        for folder in prepare_contexts(ROOT, variables, BlobStore(cache_folder())):
            sys.stderr.write(f"{folder} is ready\n")
    except PipelineError as error:
        sys.stderr.write(f"error: {error.what}\n  why:  {error.why}\n  next: {error.next_step}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
