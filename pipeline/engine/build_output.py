"""Parse an engine's build output into an error."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.assembly.model import FunctionSource
from pipeline.core.errors import BaseImageError, PipelineError
from pipeline.engine.build_context import CONTEXT_FOLDERS, DOCKERFILE

# How many lines of a failed program's output an error has.
_LINES_SHOWN = 5


class BuildFailed(PipelineError):
    """A Dockerfile that an engine did not build."""


def read_buildx(output: str) -> tuple[str, list[str]]:
    """The error in the output of ``docker buildx build --progress=plain``, and the lines before it.

    The lines are in the classic builder's format: "Step …", then the step's output.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR: ")]
    error = (
        lines[errors[-1]].removeprefix("ERROR: ").removeprefix("failed to solve: ") if errors else "".join(lines[-1:])
    )
    lines_before: list[str] = []
    # The Dockerfile's lines that failed are marked "  12 | >>> RUN …".
    marked = [line.partition(" | >>> ")[2].strip() for line in lines if " | >>> " in line]
    if marked:
        lines_before.append(f"Step : {' '.join(line.removesuffix(chr(92)).strip() for line in marked)}")
    # Between rules, under "> [2/2] RUN …:", is its output, each line after the seconds.
    begin = next((number for number, line in enumerate(lines) if line.startswith(" > [")), len(lines))
    for line in lines[begin + 1 :]:
        if line.startswith("------"):
            break
        lines_before.append(line.partition(" ")[2])
    return error, lines_before


def build_error(source: FunctionSource, base: str | None, error: str, output: Sequence[str]) -> PipelineError:
    """The error of a build that failed.

    base    the reference of the base image; None for a Dockerfile that names its own, and has a network
    error   the engine's error
    output  the lines that the build printed before
    """
    what, error = f"{source.name} was not built", " ".join(error.split())
    missing = ("pull access denied", "manifest unknown", "not found: manifest", "no such host", "connection refused")
    unreachable = ("no matching manifest", "dial tcp", "i/o timeout", "failed to resolve", "toomanyrequests")
    steps = [number for number, line in enumerate(output) if line.lower().startswith("step ")]
    last = output[steps[-1]] if steps else ""
    # What a program of the Dockerfile wrote before it failed; lines with arrows are the engine's own.
    wrote = [line for line in output[steps[-1] + 1 :] if line and not line.startswith("--->")] if steps else []
    if any(sign in error for sign in missing + unreachable) or (base and base in error and " : FROM" in last):
        named = base or f"as {source.folder / DOCKERFILE} names it"
        other = "with --base" if base else "in FROM"
        return BaseImageError(
            what,
            f"the engine could not get its base {named} ({error})",
            f"Pull it where the engine has a network, or name another base {other}.",
        )
    limits = f" It has no network, and can copy only {', '.join(CONTEXT_FOLDERS)}." if base else ""
    return BuildFailed(
        what,
        f"the engine reported: {error}"
        + (f" (at: {last})" if last else "")
        + (f"; before that: {' / '.join(wrote[-_LINES_SHOWN:])}" if wrote else ""),
        f"Fix {source.folder / DOCKERFILE}.{limits}",
    )
