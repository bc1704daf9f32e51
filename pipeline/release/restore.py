"""An image that somebody deleted from its repository, put back by its digest from what the cache keeps of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cfn.placeholder import make_image, placeholder_digest, placeholder_tag
from cfn.settings import Architecture
from pipeline.assembly.model import CheckedImage, Image, PushedImage
from pipeline.bases.choose import choose_base
from pipeline.core.errors import RegistryError
from pipeline.core.events import Report, ignore
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor, read_manifest
from pipeline.oci.values import Digest, ImageReference, Layer
from pipeline.release.push import push_image

if TYPE_CHECKING:
    from pipeline.assembly.build import Build
    from pipeline.oci.registry.client import Registry


def image_tag(digest: Digest) -> str:
    """The immutable tag that keeps a pushed image from being taken for a leftover."""
    return f"image-{digest.hex[:16]}"


def restore_image(registry: Registry, reference: ImageReference, build: Build, report: Report = ignore) -> PushedImage:
    """Push the image ``reference`` back, byte for byte; an image that is there is not sent again.

    Every build keeps its manifests, configs and layers in the cache; a placeholder is made anew. Layers of a base that
    neither the cache nor the repository has come from where the base comes from.

    Raises RegistryError when the cache does not have it, and BaseImageError.
    """
    if reference.digest is None:
        raise ValueError(f"an image is put back by its digest, saw: {reference}")
    tag = _placeholder(reference.digest, build.store) or image_tag(reference.digest)
    image = _remembered(reference, reference.digest, build)
    repository = str(ImageReference(reference.registry, reference.repository))
    # It was held against Lambda's rules before it was pushed for the first time.
    checked = CheckedImage(reference.repository, image)
    return push_image(registry, repository, checked, build.store, tag=tag, report=report)


def _placeholder(digest: Digest, store: BlobStore) -> str:
    """The tag of a placeholder image, whose blobs are then in the store; "" for any other image."""
    for architecture in Architecture:
        if placeholder_digest(architecture) == str(digest):
            manifest, blobs = make_image(architecture)
            for content in (manifest, *blobs):
                store.add(content)
            return placeholder_tag(str(digest))
    return ""


def _remembered(reference: ImageReference, digest: Digest, build: Build) -> Image:
    """The image from the cache's manifest and config. Raises RegistryError when they are not there."""
    try:
        manifest = read_manifest(build.store.read(digest))
        document = json.loads(manifest.content)
        config = parse_descriptor(document["config"])
        content = build.store.read(config.digest)
        diff_ids = [Digest.parse(text) for text in json.loads(content)["rootfs"]["diff_ids"]]
        descriptors = [parse_descriptor(entry) for entry in document["layers"]]
        layers = tuple(Layer(one, diff_id, "kept") for one, diff_id in zip(descriptors, diff_ids, strict=True))
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise RegistryError(
            f"{reference} was not put back",
            f"the cache {build.store.root} does not have it ({problem})",
            "Build it again from the commit that it came from.",
        ) from problem
    if not all(build.store.has(layer.descriptor.digest) for layer in layers):
        layers = _with_base(layers, build)
    return Image(manifest.content, manifest.media_type, content, config, layers, build.platform)


def _with_base(layers: tuple[Layer, ...], build: Build) -> tuple[Layer, ...]:
    """The layers, those of the base with the place that they can be fetched from."""
    base = choose_base(build.base, build.platform, build.store, pins=build.pins)
    places = {layer.descriptor.digest: layer.source for layer in base.layers}
    return tuple(
        Layer(each.descriptor, each.diff_id, each.title, places.get(each.descriptor.digest)) for each in layers
    )
