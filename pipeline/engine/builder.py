"""Build a function's image with its Dockerfile and a container engine.

The build context contains the layers of the daemonless builder, so both builders ship the same files. The built image
is read into the store layer by layer, then checked and pushed like any other. Layers with only plain files are
rewritten in our format, so they have the digests of the daemonless layers on any engine.
"""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Base, FunctionSource, Image, Platform
from pipeline.core.errors import BaseImageError
from pipeline.core.events import Report, ignore, step
from pipeline.engine.build_context import write_context
from pipeline.engine.build_output import BuildFailed
from pipeline.engine.connection import connect_engine, engine_address, load_image
from pipeline.engine.export import read_image
from pipeline.engine.run_build import BuildRequest, run_build
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Digest
from pipeline.oci.work import work_folder

_OTHERWISE = "Without an engine, omit --builder docker."


@dataclass(frozen=True, slots=True)
class DockerBuilder:
    """Builds images from Dockerfiles into ``store``.

    slim    what to omit from dependencies; None omits what the function does not need
    engine  a Docker client; None connects to the engine of ``$DOCKER_HOST`` or the Docker context
    buildx  build with ``docker buildx`` instead of the classic API; None uses what the engine supports
    """

    platform: Platform
    store: BlobStore
    slim: Slim | None = None
    report: Report = ignore
    engine: Any = None
    buildx: bool | None = None

    def build(self, source: FunctionSource, base: Base | str) -> Image:
        """Build the image of a function.

        base  for the build argument BASE_IMAGE: a reference, or the result of ``choose_base``, whose layers keep their
              registry's digests, and which is loaded into the engine if it is from an OCI layout

        Raises SourceError, DependencyError, BaseImageError, BuildFailed, StorageError, and LocalError without an
        engine.
        """
        engine = self.engine or connect_engine(f"{source.name} was not built", _OTHERWISE)
        slim = self.slim if self.slim is not None else Slim.for_sources([source])
        layers = lay_out(source, self.platform, self.store, slim=slim, report=self.report)
        with work_folder(self.store) as work:
            reference = base if isinstance(base, str) else _reference(engine, base, self.store, work, source)
            request = BuildRequest(source, self.platform, reference, _OTHERWISE)
            with step(self.report, "docker build", source.name), tempfile.TemporaryFile(dir=work) as context:
                write_context(source, layers, self.store, context)
                context.seek(0)
                identifier = run_build(engine, request, context, self.buildx)
            try:
                return read_image(
                    engine, identifier, self.store, work, self.platform, base if isinstance(base, Base) else None
                )
            except (ValueError, tarfile.TarError) as error:
                raise BuildFailed(
                    f"{source.name} was built, and could not be read", str(error), f"Its engine is {engine_address()}."
                ) from error


def _reference(engine: Any, base: Base, store: BlobStore, work: Path, source: FunctionSource) -> str:
    """A reference of the base that the engine has or can pull."""
    import docker

    what = f"{source.name} was not built"
    if not base.layers:
        raise BaseImageError(what, "a Dockerfile needs a base with an operating system", "Name one with --base.")
    if base.reference is not None and base.reference.registry:
        return str(base.reference)
    tag = f"transaction-pipeline/base:{Digest.of(base.config).short}"
    try:
        engine.inspect_image(tag)
    except docker.errors.ImageNotFound:
        layers = [partial(store.open, layer.descriptor.digest) for layer in base.layers]
        load_image(engine, base.config, layers, tag, work)
    return tag
