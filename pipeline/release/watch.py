"""From a saved file to the running function in a fraction of a second, on the road that every release takes.

    judge_changes(paths, images, names) -> Changes      what a batch of file events asks for
    QuickRelease.release(functions)     -> QuickResult   compile, build, check, push, switch, verify: only what changed

What is left out of a whole release is what a changed source file cannot change: the registry stack, the template, the
other functions, the bill of materials, the sample transaction and the entry in the ledger (docs/development.md).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cfn.names import Names, image_parameter, repository_output
from pipeline.assembly.build import build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.ignore import FILE as IGNORE_FILE
from pipeline.assembly.ignore import read_rules
from pipeline.assembly.model import Base, CheckedImage, FunctionSource, Platform, PushedImage
from pipeline.assembly.own.collected import collect_files
from pipeline.assembly.sources import LOCK, MANIFEST, find_sources
from pipeline.bases.choose import choose_base
from pipeline.core.errors import INSTALL_LOCAL, LocalError, NextStep, SourceError, StackError
from pipeline.core.events import Clock, Report, step
from pipeline.environment.parameters import image_parameters
from pipeline.oci.values import ImageReference
from pipeline.release.deployment import Deployment, current_images, read_pipeline, read_registry, switch_images
from pipeline.release.images import push_all, repository_uris
from pipeline.release.recompressed import keep_deployed
from pipeline.release.verify import verify_functions
from pipeline.stacks import StackOutputs, read_stack
from pipeline.target import Target

# Saves that follow each other within this time are one change; editors write, rename and format (milliseconds).
QUIET_MS = 40
# A stream of saves that never pauses is released at least this often (milliseconds).
LONGEST_MS = 1000
# How often the end may be asked for while nothing is saved (milliseconds).
_LOOK_MS = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of saved files asks for.

    functions  those whose image is another one now
    files      the files that say so, below images/
    whole      the stacks may change too, so a whole release is due
    """

    functions: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    whole: bool = False

    def __bool__(self) -> bool:
        return self.whole or bool(self.functions)

    def __or__(self, other: Changes) -> Changes:
        files = tuple(dict.fromkeys((*self.files, *other.files)))
        return Changes(self.functions | other.functions, files, self.whole or other.whole)


def judge_changes(paths: Iterable[Path], images: Path, names: Iterable[str]) -> Changes:
    """What the changed ``paths`` ask for. ``names``: the functions that are known by now.

    A file that no image would have asks for nothing. Raises SourceError for a .dockerignore that cannot be read.
    """
    known = frozenset(names)
    found = Changes()
    for path in sorted(set(paths)):
        if path == images or not path.is_relative_to(images):
            continue
        folder, *rest = path.relative_to(images).parts
        found |= _judge_change(images / folder, "/".join(rest), known)
    return found


def _judge_change(folder: Path, inner: str, known: frozenset[str]) -> Changes:
    name, file = folder.name, f"{folder.name}/{inner}".rstrip("/")
    if name.startswith((".", "__")):
        return Changes()
    is_function, is_package = (folder / MANIFEST).exists(), (folder / "__init__.py").exists()
    if inner in (MANIFEST, LOCK) or (is_function != (name in known)):
        return Changes(files=(file,), whole=is_function or name in known)
    if not inner:
        # The folder itself. One that is moved in comes with files that no event tells of; a package that came or went
        # is part of every image.
        if name in known:
            return Changes(frozenset({name}), (file,))
        untouched = folder.exists() and not is_package
        return Changes() if untouched else Changes(known, (file,))
    if inner != IGNORE_FILE and read_rules(folder).ignores(inner):
        return Changes()
    if name in known:
        return Changes(frozenset({name}), (file,))
    return Changes(known, (file,)) if is_package or inner == "__init__.py" else Changes()


def saved_files(images: Path) -> Iterator[set[Path]]:
    """The files that were changed below ``images``, in batches; begins with an empty one once it looks.

    What is saved while the caller is at work comes in its next batch, however long that takes; empty batches come when
    nothing is saved for a while. Raises LocalError when file events are not to be had.
    """
    try:
        from watchfiles import watch
    except ModuleNotFoundError as error:
        raise LocalError("nothing is watched", "the package watchfiles is not installed", INSTALL_LOCAL) from error
    events = watch(
        images, watch_filter=None, debounce=LONGEST_MS, step=QUIET_MS, rust_timeout=_LOOK_MS, yield_on_timeout=True
    )
    try:
        for batch in events:
            yield {Path(path) for _, path in batch}
    except OSError as error:
        raise LocalError(
            f"{images} is not watched any longer", str(error),
            "Look whether the folder is there; many watched files may need a larger fs.inotify.max_user_watches.",
        ) from error  # fmt: skip


def compile_sources(sources: Iterable[FunctionSource], platform: Platform) -> None:
    """See that every module that would be shipped compiles. Raises SourceError with all that do not.

    Modules for a newer Python than this one are left to it.
    """
    if (platform.python.major, platform.python.minor) > sys.version_info[:2]:
        return
    folders = {folder for source in sources for folder in (source.folder, *source.shared)}
    findings: list[str] = []
    for folder in sorted(folders):
        for entry in collect_files(folder, folder.name):
            if entry.kind == "file" and entry.path.endswith(".py") and isinstance(entry.content, bytes):
                findings += _compile(entry.path, entry.content)
    if findings:
        raise SourceError("nothing was released", "; ".join(findings), "Mend and save it.")


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
    """What a change did.

    pushed   the functions that run another image now; none when the files say what runs already
    seconds  by step, in order
    """

    pushed: tuple[PushedImage, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


def stands(target: Target, names: Names) -> bool:
    """Whether anything of an environment is there."""
    cloudformation = target.client("cloudformation")
    return any(
        not read_stack(cloudformation, name).status.gone for name in (names.registry_stack, names.pipeline_stack)
    )


class QuickRelease:
    """Releases of single functions into an environment that stands; what they share is looked up once.

    Made after a whole release, whose templates and repositories it goes by. Raises StackError when the environment
    does not stand.

    functions  those that it can release: of the deployment's, the ones that the stacks have
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
        self._base: Base = choose_base(build.base, build.platform, build.store, pins=build.pins)
        self._images = build.sources[0].folder.parent if build.sources else None
        names = [source.name for source in build.sources]
        self._live = current_images(deployment, pipeline)
        self.functions = tuple(
            name
            for name in names
            if image_parameter(name) in pipeline.parameters and repository_output(name) in registry.outputs
        )

    def release(self, functions: Iterable[str], report: Report) -> QuickResult:
        """Build the named functions, and switch to those whose image is another one than what runs.

        Raises SourceError and CheckFailed before anything is pushed; what runs stays live. Whatever is raised later
        leaves a step that is safe to repeat.
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
            switch_images(deployment, image_parameters(pushed), report)
        # From here on the stack names the new images, whatever verifying them says.
        self._live |= image_parameters(pushed)
        verify_functions(deployment, pushed, clock)
        total = round(time.monotonic() - started, 3)
        return QuickResult(pushed, {**clock.seconds, "total": total})

    def _sources(self, functions: Iterable[str]) -> tuple[FunctionSource, ...]:
        wanted, build = frozenset(functions), self._deployment.build
        assert self._images is not None  # noqa: S101
        # First, because it names file and line of every error, and the reading of folders only the handler's.
        compile_sources((source for source in build.sources if source.name in wanted), build.platform)
        found = find_sources(self._images, python=build.platform.python)
        return tuple(source for source in found if source.name in wanted)

    def _runs(self, image: CheckedImage) -> bool:
        """Whether the stack names the image already."""
        uri = self._live.get(image_parameter(image.function))
        return uri is not None and ImageReference.parse(uri).digest == image.image.digest

    def _with(self, sources: tuple[FunctionSource, ...]) -> Deployment:
        """The deployment of these functions alone, whose images ``up`` would build alike."""
        return replace(self._deployment, build=replace(self._deployment.build, sources=sources, sbom=False))

    def _build(self, deployment: Deployment) -> Sequence[CheckedImage]:
        build = deployment.build
        images = []
        for source in build.sources:
            image = build_image(source, build.platform, self._base, build.store, slim=build.slim)
            images.append(check_image(image, source, build.store))
            build.store.add(image.manifest)
            build.store.add(image.config)
        return images


def named_files(images: Path, files: Sequence[str]) -> tuple[str, ...]:
    """The files to name to people: those that are there, without the ones that an editor made and took away again."""
    return tuple(file for file in files if (images / file).exists()) or tuple(files)


def seen_after(images: Path, files: Iterable[str]) -> float:
    """Seconds since the newest of the ``files`` was saved, by its time; 0.0 when none is there any more."""
    times = []
    for file in files:
        try:
            times.append((images / file).stat().st_mtime)
        except OSError:
            continue
    return max(0.0, time.time() - max(times)) if times else 0.0
