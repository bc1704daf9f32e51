"""From a function's folder to its image: lay out, assemble. The base and the store come from outside."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.blobs import BlobStore
from pipeline.build.image import assemble
from pipeline.build.layers import SharedPackages, lay_out
from pipeline.build.slim import Slim
from pipeline.events import Report, ignore
from pipeline.model import Base, FunctionSource, Image, Platform


def build_image(
    source: FunctionSource,
    platform: Platform,
    base: Base,
    store: BlobStore,
    *,
    slim: Slim | None = None,
    labels: Mapping[str, str] | None = None,
    shared: SharedPackages | None = None,
    report: Report = ignore,
) -> Image:
    """The image of a function on ``base``; its own layers are in ``store``, the base's need not be.

    slim    what is left out of dependencies; ``Slim.for_sources(all sources)`` lets functions share their layers
    labels  besides the title, such as ``SourceLabels`` gives
    shared  of the run that this is part of

    The same inputs give the same digest. Raises SourceError, DependencyError, BaseImageError and StorageError.
    """
    layers = lay_out(source, platform, store, slim=slim, runtime=not base.layers, shared=shared, report=report)
    return assemble(base, layers, source=source, platform=platform, labels=labels)
