"""The values that flow from a source folder to a running function. Each stage takes the value of the stage before it.

find_sources → FunctionSource → lay_out → Layer… → assemble → Image → check_image → CheckedImage
→ push_image → PushedImage → image_parameters → plan_stack → apply_stack → verify_function

Pure: nothing here reads, writes or connects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cfn.settings import Architecture, FunctionDefinition
from pipeline.oci.values import Descriptor, Digest, ImageReference, Layer

# Where functions and their imports are, in AWS's base images and on the empty base.
TASK_ROOT = "/var/task"


@dataclass(frozen=True, slots=True, order=True)
class PythonVersion:
    """A minor version of Python: ``PythonVersion.parse("3.13")``."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        match = re.fullmatch(r"(3)\.(\d{1,2})", text)
        if match is None:
            raise ValueError(f"a Python version is written 3.<minor>, saw: {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is made for: Lambda's architecture and a Python minor version, always Linux with glibc."""

    architecture: Architecture
    python: PythonVersion

    def __str__(self) -> str:
        return f"linux/{self.architecture.oci} python{self.python}"


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """An image in an OCI layout on disk. name: its ``org.opencontainers.image.ref.name``, if the layout has several."""

    folder: Path
    name: str | None = None


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image of the container engine, by name or id."""

    name: str


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """An image that is copied as it is instead of being built. written: ``image`` of function.toml."""

    written: str
    place: ImageReference | LayoutImage | EngineImage


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A folder under ``images/`` that was read and found complete.

    handler       "module.function", found in the folder; "" for an image with its own command, from elsewhere or
                  built with the function's Dockerfile
    requirements  the hash-locked requirements file, or None when the function has no dependencies
    shared        folders of packages beside the functions, shipped with each of them
    smoke         the event that a release is tried with, or None
    warnings      what could not be decided by reading the folder
    prebuilt      the image to copy; None for a function that is built from its folder
    code          the folder whose code it runs, if that is another
    """

    definition: FunctionDefinition
    folder: Path
    handler: str
    requirements: Path | None = None
    shared: tuple[Path, ...] = ()
    smoke: Path | None = None
    warnings: tuple[str, ...] = ()
    prebuilt: Prebuilt | None = None
    code: Path | None = None

    @property
    def code_folder(self) -> Path:
        """The folder whose files ship."""
        return self.code or self.folder

    @property
    def by_dockerfile(self) -> bool:
        """Whether the image is whatever the Dockerfile in the folder makes."""
        return not self.handler and self.prebuilt is None

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, slots=True)
class Base:
    """The base of an image: its own config document and its layers; both empty for the empty base.

    docker  the base is of Docker's media types, so the image made on it is too (one manifest never mixes the two)
    """

    config: bytes
    layers: tuple[Layer, ...] = ()
    reference: ImageReference | None = None
    docker: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A complete image: the exact bytes of its config and manifest, and its layers in order.

    Its digest is known here, before any push. Blobs of layers are in the blob store, or fetched from ``Layer.source``.
    """

    manifest: bytes
    manifest_media_type: str
    config: bytes
    config_descriptor: Descriptor
    layers: tuple[Layer, ...]
    platform: Platform

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image of a function that passed every rule of Lambda; made by ``pipeline.assembly.check`` only.

    exact  the manifest was chosen by its digest, so it is never exchanged for an equivalent one
    """

    function: str
    image: Image
    exact: bool = False


@dataclass(frozen=True, slots=True)
class PushedImage:
    """An image that was read back from its registry by digest and found equal.

    uploaded  bytes that this push really sent
    """

    function: str
    repository_uri: str
    digest: Digest
    uploaded: int = 0

    @property
    def uri(self) -> str:
        """``<repository>@sha256:…``: what the stack's image parameter takes."""
        return f"{self.repository_uri}@{self.digest}"
