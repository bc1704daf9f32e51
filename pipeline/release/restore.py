"""Push an image again, by digest, after it was deleted from its repository."""

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
    """The immutable tag that protects a pushed image from lifecycle rules."""
    return f"image-{digest.hex[:16]}"


def restore_image(registry: Registry, reference: ImageReference, build: Build, report: Report = ignore) -> PushedImage:
    """Push the image ``reference`` again, byte for byte, unless the repository has it.

    Manifest, config and layers come from the cache of builds, a placeholder is generated, and base layers that neither
    cache nor repository has come from the base's registry.

    Raises RegistryError if the cache lacks the image, and BaseImageError.
    """
    if reference.digest is None:
        raise ValueError(f"an image is restored by its digest, saw: {reference}")
    tag = _placeholder(reference.digest, build.store) or image_tag(reference.digest)
    image = _remembered(reference, reference.digest, build)
    repository = str(ImageReference(reference.registry, reference.repository))
    # It was checked before its first push.
    checked = CheckedImage(reference.repository, image)
    return push_image(registry, repository, checked, build.store, tag=tag, report=report)


def _placeholder(digest: Digest, store: BlobStore) -> str:
    """The tag of a placeholder image, whose blobs are added to the store; "" for any other image."""
    for architecture in Architecture:
        if placeholder_digest(architecture) == str(digest):
            manifest, blobs = make_image(architecture)
            for content in (manifest, *blobs):
                store.add(content)
            return placeholder_tag(str(digest))
    return ""


def _remembered(reference: ImageReference, digest: Digest, build: Build) -> Image:
    """The image from the cache's manifest and config. Raises RegistryError if they are missing."""
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
            f"{reference} was not restored",
            f"the cache {build.store.root} does not have it ({problem})",
            "Build it again from the commit that it came from.",
        ) from problem
    if not all(build.store.has(layer.descriptor.digest) for layer in layers):
        layers = _with_base(layers, build)
    return Image(manifest.content, manifest.media_type, content, config, layers, build.platform)


def _with_base(layers: tuple[Layer, ...], build: Build) -> tuple[Layer, ...]:
    """The layers; those of the base with their source."""
    base = choose_base(build.base, build.platform, build.store, pins=build.pins)
    places = {layer.descriptor.digest: layer.source for layer in base.layers}
    return tuple(
        Layer(each.descriptor, each.diff_id, each.title, places.get(each.descriptor.digest)) for each in layers
    )
