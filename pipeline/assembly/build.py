"""From a function's folder to its image: lay out, assemble. The base and the store come from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.image import assemble
from pipeline.assembly.layers import SharedPackages, lay_out
from pipeline.assembly.model import Base, FunctionSource, Image, Platform
from pipeline.core.events import Report, ignore
from pipeline.oci.blobs import BlobStore

if TYPE_CHECKING:
    from pipeline.assembly.proof.kms import KmsKey
    from pipeline.assembly.vulnerabilities.vulnerability_gate import Gate


@dataclass(frozen=True, slots=True)
class Proof:
    """How what is released is signed and verified.

    signing_key       a private key, in a file or in KMS; None leaves images unsigned
    verification_key  the public key that signatures must hold under
    required          whether only images whose signature and provenance verify are deployed
    """

    signing_key: Path | KmsKey | None = None
    verification_key: Path | KmsKey | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """What images are built from; needs no account and no credentials.

    base       a registry reference, the path of an OCI layout, or "empty"
    allowed_credentials  paths that may hold what looks like a credential
    builder    "layers" for our own, "docker" for an engine and each function's Dockerfile
    sbom       whether each image gets a bill of materials that refers to it
    proof      how images are signed, and whether they must be
    gate       the known vulnerabilities that are looked for; None for none
    revisions  function → the commit that its files come from, or ""
    pins       the project's file of pinned bases, for an empty ``base``
    commit     finds the commit that everything is made from, or ""; asked when a release is recorded
    """

    sources: tuple[FunctionSource, ...]
    platform: Platform
    base: str
    store: BlobStore
    slim: Slim
    sbom: bool = True
    allowed_credentials: Sequence[str] = ()
    builder: str = "layers"
    proof: Proof = Proof()
    gate: Gate | None = None
    revisions: Mapping[str, str] = field(default_factory=dict)
    commit: Callable[[], str] = str
    pins: Path = Path("bases.toml")


def build_image(
    source: FunctionSource,
    platform: Platform,
    base: Base,
    store: BlobStore,
    *,
    slim: Slim | None = None,
    shared: SharedPackages | None = None,
    report: Report = ignore,
) -> Image:
    """The image of a function on ``base``; its own layers are in ``store``, the base's need not be.

    slim    what is left out of dependencies; ``Slim.for_sources(all sources)`` lets functions share their layers
    shared  of the run that this is part of

    The same inputs give the same digest. Raises SourceError, DependencyError, BaseImageError and StorageError.
    """
    layers = lay_out(source, platform, store, slim=slim, runtime=not base.layers, shared=shared, report=report)
    return assemble(base, layers, source=source, platform=platform)
