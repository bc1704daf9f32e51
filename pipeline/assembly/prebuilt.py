"""``image`` of function.toml: an image that exists already and is copied instead of being built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.assembly.model import EngineImage, LayoutImage, Prebuilt
from pipeline.assembly.own.collected import collect_files
from pipeline.core.errors import BaseImageError, SourceError
from pipeline.core.shown import first_few, shown
from pipeline.oci.layout import PREFIX, parse_layout_name
from pipeline.oci.values import ImageReference

# The prefix of containers-transports(5) for the images of a container engine.
ENGINE = "docker-daemon:"
# The other transports of containers-transports(5); as references they would be names in a registry.
_UNKNOWN = re.compile(r"(?:docker-archive|oci-archive|containers-storage|dir|ostree|sif):")
# Files that only a build reads.
_BUILT_FROM = ("Dockerfile", "requirements.in", "requirements.txt")


def parse_prebuilt(text: str, folder: Path) -> Prebuilt:
    """Parse ``image``; the path of a layout is relative to the function's folder. Raises ValueError.

    A reference may lack a digest here, since only its registry knows it.
    """
    if text.startswith(PREFIX):
        path = text.removeprefix(PREFIX)
        if not path:
            raise ValueError("oci: needs the folder of an OCI layout")
        try:
            return Prebuilt(text, LayoutImage(*parse_layout_name(path if path.startswith("~") else f"{folder / path}")))
        except BaseImageError as error:
            raise ValueError(error.why) from error
    if text.startswith(ENGINE):
        if text == ENGINE:
            raise ValueError(f"{ENGINE} needs the name of an image")
        return Prebuilt(text, EngineImage(text.removeprefix(ENGINE)))
    if _UNKNOWN.match(text):
        raise ValueError(f"{shown(text)} is neither in a registry nor an OCI layout; copy it to one with skopeo")
    reference = ImageReference.parse(text.removeprefix("docker://"))
    if not reference.registry:
        raise ValueError(f"{text} names no registry; Docker Hub is docker.io, as in docker.io/library/NAME@sha256:…")
    return Prebuilt(text, reference)


def judge_beside(folder: Path) -> Iterator[str]:
    """Find files beside a prebuilt image that their author may expect in it. Events and texts are not among them."""
    try:
        paths = [entry.path.removeprefix("/") for entry in collect_files(folder, "")]
    except SourceError as error:
        yield error.why
        return
    unused = [name for name in _BUILT_FROM if (folder / name).exists()]
    unused += [path for path in paths if not path.startswith("events/") and not path.endswith(".md")]
    if unused:
        yield (
            f"its image exists already, so {first_few(unused)} would not ship; move them elsewhere, "
            "or name what stays in its .dockerignore"
        )
