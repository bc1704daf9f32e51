"""An image or a base from a container engine, such as one that was just built there."""

from __future__ import annotations

import tarfile
from typing import Any

from pipeline.assembly.model import Base, Image, Platform
from pipeline.bases.parsing import parse_base
from pipeline.core.errors import BaseImageError
from pipeline.engine.connection import connect_engine, engine_address
from pipeline.engine.export import read_image
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Manifest
from pipeline.oci.work import work_folder


def engine_base(name: str, platform: Platform, store: BlobStore, *, engine: Any = None) -> Base:
    """The engine's image ``name`` as a base; its layers are copied into the store, compressed like ours.

    An image id that was read before is not read again. Raises BaseImageError, and LocalError without an engine.
    """
    what = f"the base {name} was not read from the engine"
    image = engine_image(name, platform, store, what, engine=engine)
    return parse_base(Manifest(image.manifest, image.manifest_media_type), image.config, platform, None, what)


def engine_image(name: str, platform: Platform, store: BlobStore, what: str, *, engine: Any = None) -> Image:
    """The engine's image ``name``; see ``engine_base``. what: the error if it cannot be read."""
    import docker

    engine = engine or connect_engine(what, "Name a reference, or an OCI layout on disk (oci:DIR).")
    try:
        identifier = str(engine.inspect_image(name)["Id"])
    except (docker.errors.APIError, docker.errors.NullResource) as error:
        raise BaseImageError(
            what,
            f"the engine at {engine_address()} has no image {name!r}",
            "`docker images` lists what it has. To use one of a registry, name it without docker-daemon:.",
        ) from error
    try:
        with work_folder(store) as work:
            return read_image(engine, identifier, store, work, platform, None)
    except (ValueError, tarfile.TarError) as error:
        raise BaseImageError(
            what, str(error), f"See the log of the engine at {engine_address()}, or build it again."
        ) from error
