"""Release saved files to running functions in a fraction of a second, by the steps of every release.

    judge_changes(paths, images, users) -> Changes       what a batch of changed files requires
    QuickRelease.release(functions)     -> QuickResult   compile, build, check, push, switch, verify changed functions

Skips what a source file cannot change: the registry stack, the template, other functions, the bill of materials, the
sample transaction and the entry in the ledger (docs/development.md).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from cfn.names import Names, image_parameter, repository_output
from cfn.settings import Entrance
from cfn.workflow.own_permissions import MANIFEST as WORKFLOW_MANIFEST
from pipeline.assembly.ignore import FILE as IGNORE_FILE
from pipeline.assembly.ignore import read_context_rules
from pipeline.assembly.layers import SharedPackages
from pipeline.assembly.model import CheckedImage, FunctionSource, Platform, PushedImage
from pipeline.assembly.own.collected import collect_files
from pipeline.assembly.sources import DOCKERFILE, LOCK, MANIFEST, find_sources
from pipeline.core.errors import INSTALL_LOCAL, LocalError, NextStep, SourceError, StackError
from pipeline.core.events import Clock, Report, step
from pipeline.environment.parameters import image_parameters
from pipeline.environment.resources_file import RESOURCES_FILE
from pipeline.environment.workflow_file import DEFINITIONS
from pipeline.oci.values import ImageReference
from pipeline.release.deployment import Deployment, current_images, read_pipeline, read_registry, switch_images
from pipeline.release.images import base_of_build, build_one, push_all, repository_uris
from pipeline.release.recompressed import keep_deployed
from pipeline.release.verify import verify_functions
from pipeline.stacks import StackOutputs, read_stack
from pipeline.target import Target

# Saves that follow each other within this time are one change; editors write, rename and format (milliseconds).
QUIET_MS = 40
# A continuous stream of saves is released at least this often (milliseconds).
LONGEST_MS = 1000
# Files beside images/ that stack 2 is made of.
STACK_FILES = (RESOURCES_FILE, *DEFINITIONS, WORKFLOW_MANIFEST)
# How often an empty batch is returned while no file changes (milliseconds).
_LOOK_MS = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of saved files requires.

    functions  functions whose image may change
    files      the changed files, relative to images/; ``../resources.yaml`` is beside it
    whole      the stacks may change, so a whole release is needed
    """

    functions: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    whole: bool = False

    def __bool__(self) -> bool:
        return self.whole or bool(self.functions)

    def __or__(self, other: Changes) -> Changes:
        files = tuple(dict.fromkeys((*self.files, *other.files)))
        return Changes(self.functions | other.functions, files, self.whole or other.whole)


def judge_changes(paths: Iterable[Path], images: Path, users: Mapping[str, AbstractSet[str]]) -> Changes:
    """What the changed ``paths`` require.

    users  the known functions that each folder is of: a function's own, and one with code of several

    A file that belongs to no image requires nothing. Raises SourceError for an unreadable .dockerignore.
    """
    found = Changes()
    for path in sorted(set(paths)):
        if path.parent == images.parent and path.name in STACK_FILES:
            found |= Changes(files=(f"../{path.name}",), whole=True)
        if path == images or not path.is_relative_to(images):
            continue
        folder, *rest = path.relative_to(images).parts
        found |= _judge_change(images / folder, "/".join(rest), users)
    return found


def _judge_change(folder: Path, inner: str, users: Mapping[str, AbstractSet[str]]) -> Changes:
    known, of_folder = frozenset[str]().union(*users.values()), frozenset(users.get(folder.name, ()))
    name, file = folder.name, f"{folder.name}/{inner}".rstrip("/")
    if name.startswith((".", "__")):
        return Changes()
    is_function, is_package = (folder / MANIFEST).exists(), (folder / "__init__.py").exists()
    if inner in (MANIFEST, LOCK) or (is_function != (name in known)):
        return Changes(files=(file,), whole=is_function or name in users)
    if not inner:
        # The folder itself. A folder that is moved in has files without events; a package that appears or disappears
        # affects every image.
        if of_folder:
            return Changes(of_folder, (file,))
        untouched = folder.exists() and not is_package
        return Changes() if untouched else Changes(known, (file,))
    if inner not in (IGNORE_FILE, DOCKERFILE) and read_context_rules(folder).ignores(inner):
        return Changes()
    if of_folder:
        return Changes(of_folder, (file,))
    return Changes(known, (file,)) if is_package or inner == "__init__.py" else Changes()


def saved_files(images: Path) -> Iterator[set[Path]]:
    """Yields batches of files changed below ``images``, and of ``STACK_FILES`` beside it.

    The first one is empty and means that watching has begun.

    Changes during the caller's work come in the next batch; empty batches come while no file changes. Raises LocalError
    if file events are not available.
    """
    try:
        from watchfiles import watch
    except ModuleNotFoundError as error:
        raise LocalError("nothing is watched", "the package watchfiles is not installed", INSTALL_LOCAL) from error
    events = watch(
        images, watch_filter=None, debounce=LONGEST_MS, step=QUIET_MS, rust_timeout=_LOOK_MS, yield_on_timeout=True
    )
    before = _states(images.parent)
    try:
        for batch in events:
            now = _states(images.parent)
            beside = {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}
            before = now
            yield {Path(path) for _, path in batch} | beside
    except OSError as error:
        raise LocalError(
            f"{images} is no longer watched", str(error),
            "Check that the folder exists; many files may need a larger fs.inotify.max_user_watches.",
        ) from error  # fmt: skip


def _states(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """What changes when one of ``STACK_FILES`` is saved. Their folder has too much beside them to be watched whole."""
    found = {}
    for path in (folder / name for name in STACK_FILES):
        try:
            status = path.stat()
        except OSError:
            continue
        found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def compile_sources(sources: Iterable[FunctionSource], platform: Platform) -> None:
    """Compile every module that would be shipped. Raises SourceError with all errors.

    Does nothing for a newer Python than this one.
    """
    if (platform.python.major, platform.python.minor) > sys.version_info[:2]:
        return
    # A Dockerfile may bring another Python, or none.
    folders = {folder for source in sources if source.handler for folder in (source.code_folder, *source.shared)}
    findings: list[str] = []
    for folder in sorted(folders):
        for entry in collect_files(folder, folder.name):
            if entry.kind == "file" and entry.path.endswith(".py") and isinstance(entry.content, bytes):
                findings += _compile(entry.path, entry.content)
    if findings:
        raise SourceError("nothing was released", "; ".join(findings), "Fix and save it.")


_compiled: set[bytes] = set()


def _compile(path: str, text: bytes) -> Iterator[str]:
    if text in _compiled:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as problem:
        line = f":{problem.lineno}" if isinstance(problem, SyntaxError) and problem.lineno else ""
        yield f"{path}{line}: {problem.msg if isinstance(problem, SyntaxError) else problem}"
    else:
        _compiled.add(text)


@dataclass(frozen=True, slots=True)
class QuickResult:
    """The result of releasing a change.

    pushed   the functions that switched to a new image; () if none changed
    seconds  by step, in order
    """

    pushed: tuple[PushedImage, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


def stacks_exist(target: Target, names: Names) -> bool:
    """Whether any stack of the environment exists."""
    cloudformation = target.client("cloudformation")
    return any(
        not read_stack(cloudformation, name).status.gone for name in (names.registry_stack, names.pipeline_stack)
    )


class QuickRelease:
    """Releases single functions into a deployed environment; reads the stacks and the base once.

    Create one after a whole release, whose template and repositories it uses. Raises StackError if a stack does not
    exist.

    functions  the functions that it can release: those of the deployment that the stacks have
    users      of them, those whose code each folder has
    """

    def __init__(self, deployment: Deployment) -> None:
        build = deployment.build
        self._deployment = deployment
        registry, pipeline = read_registry(deployment), read_pipeline(deployment)
        if registry.status.gone or pipeline.status.gone:
            raise StackError(
                f"{deployment.settings.environment} is not watched",
                "its stacks do not exist",
                NextStep("Deploy it", ("up",)),
            )
        self._registry = StackOutputs(registry.name, registry.stack_id, registry.outputs, changed=False)
        self._base = base_of_build(build)
        self._images = build.sources[0].folder.parent if build.sources else None
        names = [source.name for source in build.sources]
        self._live = current_images(deployment, pipeline)
        self.functions = tuple(
            name
            for name in names
            if image_parameter(name) in pipeline.parameters and repository_output(name) in registry.outputs
        )
        users = {name: {name} for name in self.functions}
        for source in build.sources:
            if source.name in self.functions:
                users.setdefault(source.code_folder.name, set()).add(source.name)
        self.users = {folder: frozenset(each) for folder, each in users.items()}

    @property
    def stack_id(self) -> str:
        return str(self._registry.stack_id)

    def release(self, functions: Iterable[str], report: Report) -> QuickResult:
        """Build the named functions, and switch those whose image changed.

        Raises SourceError and CheckFailed before anything is pushed. After a later error the call is safe to repeat.
        """
        if self._images is None:
            return QuickResult(())
        clock = Clock(report)
        started = time.monotonic()
        with step(clock, "check"):
            sources = self._sources(functions)
        deployment = self._with(sources)
        with step(clock, "build"):
            built = keep_deployed(self._build(deployment), self._live, deployment.target.registry, clock)
            images = [image for image in built if not self._runs(image)]
        if not images:
            return QuickResult((), clock.seconds)
        uris = repository_uris(self._registry, images)
        pushed = push_all(deployment, uris, images, clock)
        with step(clock, "switch"):
            switch_images(deployment, image_parameters(pushed), report, express=True)
        # The stack now names the new images, even if verifying them fails.
        self._live |= image_parameters(pushed)
        verify_functions(deployment, pushed, clock)
        total = round(time.monotonic() - started, 3)
        return QuickResult(pushed, {**clock.seconds, "total": total})

    def _sources(self, functions: Iterable[str]) -> tuple[FunctionSource, ...]:
        wanted, build = frozenset(functions), self._deployment.build
        assert self._images is not None  # noqa: S101
        # First, because it reports file and line of every error, and find_sources only those of the handler.
        compile_sources((source for source in build.sources if source.name in wanted), build.platform)
        found = find_sources(self._images, python=build.platform.python, entrances=tuple(Entrance))
        return tuple(source for source in found if source.name in wanted)

    def _runs(self, image: CheckedImage) -> bool:
        """Whether the stack names the image already."""
        uri = self._live.get(image_parameter(image.function))
        return uri is not None and ImageReference.parse(uri).digest == image.image.digest

    def _with(self, sources: tuple[FunctionSource, ...]) -> Deployment:
        """The deployment of these functions only, whose images equal those that ``up`` builds."""
        return replace(self._deployment, build=replace(self._deployment.build, sources=sources, sbom=False))

    def _build(self, deployment: Deployment) -> Sequence[CheckedImage]:
        shared = SharedPackages()
        return [build_one(deployment.build, source, self._base, shared) for source in deployment.build.sources]


def named_files(images: Path, files: Sequence[str]) -> tuple[str, ...]:
    """The files to report: without an editor's temporary files, which no longer exist."""
    return tuple(file for file in files if (images / file).exists()) or tuple(files)


def seen_after(images: Path, files: Iterable[str]) -> float:
    """Seconds since the newest of the ``files`` was modified; 0.0 if none exists."""
    times = []
    for file in files:
        try:
            times.append((images / file).stat().st_mtime)
        except OSError:
            continue
    return max(0.0, time.time() - max(times)) if times else 0.0
