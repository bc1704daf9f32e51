"""What images are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.blobs import BlobStore
from pipeline.build.revision import LABEL as REVISION_LABEL
from pipeline.build.slim import Slim
from pipeline.model import FunctionSource, Platform


@dataclass(frozen=True, slots=True)
class Build:
    """What images are built from; needs no account and no credentials.

    base     a registry reference, the path of an OCI layout, or "empty"
    builder  "layers" for our own, "docker" for an engine and each function's Dockerfile
    sbom     whether each image gets a bill of materials that refers to it
    labels   function → labels of its image, such as the commit that it comes from
    """

    sources: tuple[FunctionSource, ...]
    platform: Platform
    base: str
    store: BlobStore
    slim: Slim
    sbom: bool = True
    builder: str = "layers"
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """The one commit that all functions come from, or ""."""
        commits = {each.get(REVISION_LABEL, "") for each in self.labels.values()}
        return commits.pop() if len(commits) == 1 else ""
