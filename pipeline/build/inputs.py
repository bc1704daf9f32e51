"""What images are built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.blobs import BlobStore
from pipeline.build.slim import Slim
from pipeline.model import FunctionSource, Platform


@dataclass(frozen=True, slots=True)
class Build:
    """What images are built from; needs no account and no credentials.

    base     a registry reference, the path of an OCI layout, or "empty"
    builder  "layers" for our own, "docker" for an engine and each function's Dockerfile
    sbom     whether each image gets a bill of materials that refers to it
    labels   function → labels of its image, such as the commit that it comes from
    commit   finds the commit that everything is made from, or ""; asked when a release is recorded
    """

    sources: tuple[FunctionSource, ...]
    platform: Platform
    base: str
    store: BlobStore
    slim: Slim
    sbom: bool = True
    builder: str = "layers"
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commit: Callable[[], str] = str
