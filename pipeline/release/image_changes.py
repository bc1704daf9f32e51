"""Images as they are compared, read from a registry, and what is said of their difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from pipeline.assembly.difference import Compared, ComparedLayer, Difference, compare, titles
from pipeline.core.documents import parse_json
from pipeline.core.errors import RegistryError
from pipeline.oci.archive import BadArchive
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import DOCUMENT_MOST, parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Descriptor, Digest, ImageReference


def read_compared(registry: Registry, repository: str, reference: Digest | str, store: BlobStore) -> Compared:
    """An image of a registry; its layers are fetched when they are compared, and then kept in ``store``.

    Raises RegistryError, also for a manifest or a config that is none.
    """
    manifest = registry.fetch_manifest(repository, reference)
    what = f"{registry.host}/{repository}@{manifest.digest} was not compared"
    try:
        document = parse_json(manifest.content)
        config_descriptor = parse_descriptor(document["config"])
        descriptors = [parse_descriptor(each) for each in document["layers"]]
        if config_descriptor.size > DOCUMENT_MOST:
            raise ValueError(f"its config claims to have {config_descriptor.size:,} bytes")
        registry.fetch_blob(repository, config_descriptor, store)
        config = parse_json(store.read(config_descriptor.digest))
        diff_ids = [str(each) for each in config["rootfs"]["diff_ids"]]
        if len(diff_ids) != len(descriptors):
            raise ValueError("its config and its manifest have different layers")
    except (ValueError, LookupError, TypeError) as error:
        raise RegistryError(what, f"it is no single image ({error})", "Name an image by its digest.") from error
    layers = tuple(
        ComparedLayer(title, diff_id, descriptor.size, _opener(registry, repository, descriptor, store))
        for title, diff_id, descriptor in zip(titles(config, len(diff_ids)), diff_ids, descriptors, strict=True)
    )
    return Compared(config, layers)


def _opener(registry: Registry, repository: str, descriptor: Descriptor, store: BlobStore) -> Callable[[], BinaryIO]:
    def open_layer() -> BinaryIO:
        registry.fetch_blob(repository, descriptor, store)
        return store.open(descriptor.digest)

    return open_layer


def explain_change(registry: Registry, before: ImageReference, after: Compared, store: BlobStore, most: int) -> str:
    """Why the image in a registry is another than ``after``, in one line; "" if it cannot be read.

    most  see ``compare``
    """
    if before.digest is None:
        return ""
    try:
        return compare(read_compared(registry, before.repository, before.digest, store), after, most=most).summary()
    except (RegistryError, BadArchive, OSError):
        return ""


def difference_lines(name: str, found: Difference) -> list[str]:
    """A difference for people, one thing a line, at most a dozen lines a function."""
    if not found:
        return [f"{name}: the same"]
    lines = [f"{name}: {found.summary()}"]
    lines += [f"  lock      {each}" for each in found.packages[:6]]
    for layer in found.layers:
        for sign, paths in (("+", layer.added), ("-", layer.removed), ("~", layer.changed)):
            lines += [f"  {layer.layer:<9} {sign} {path}" for path in paths[:4]]
            lines += [f"  {layer.layer:<9} {sign} {len(paths) - 4} more"] if len(paths) > 4 else []
    lines += [f"  config    {setting[:160]}" for setting in found.settings]
    return lines
