"""Recognise deployed images whose manifest was made on another machine.

An image is identified by its config, which names the layers by their uncompressed content (``diff_ids``). The manifest
names the compressed layers, whose bytes depend on the zlib that Python is linked with. A function that runs the same
config keeps its manifest, so building on another machine releases nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cfn.names import image_parameter
from pipeline.assembly.model import CheckedImage, Image
from pipeline.core.documents import parse_json
from pipeline.core.errors import CredentialsError, RegistryError
from pipeline.core.events import Note, Report
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import ImageReference, Manifest

_READERS = 8


def keep_deployed(
    images: Sequence[CheckedImage],
    deployed: Mapping[str, str],
    open_registry: Callable[[str], Registry],
    report: Report,
) -> tuple[CheckedImage, ...]:
    """The images, with the deployed manifest where it names the same config.

    deployed       image URIs by stack parameter, as ``current_images`` gives them
    open_registry  the registry of a host

    Reads a manifest for each function whose manifest digest differs from the deployed one. If that fails, the image is
    returned unchanged, and a push reports why.
    """

    def keep(checked: CheckedImage) -> CheckedImage:
        uri = deployed.get(image_parameter(checked.function))
        if not uri or checked.exact:
            return checked
        reference = ImageReference.parse(uri)
        if reference.digest is None or reference.digest == checked.image.digest:
            return checked
        try:
            found = open_registry(reference.registry).find_manifest(reference.repository, reference.digest)
        except (RegistryError, CredentialsError) as problem:
            report(Note(f"{checked.function} was not compared with what is deployed: {problem.why}"))
            return checked
        kept = with_manifest(checked.image, found) if found is not None else None
        return checked if kept is None else replace(checked, image=kept)

    if len(images) < 2:
        return tuple(map(keep, images))
    with ThreadPoolExecutor(min(len(images), _READERS)) as pool:
        return tuple(pool.map(keep, images))


def with_manifest(image: Image, manifest: Manifest) -> Image | None:
    """``image`` with another manifest of the same config; None if the manifest has another config. Pure."""
    try:
        document = parse_json(manifest.content)
        config = parse_descriptor(document["config"])
        layers = [parse_descriptor(entry) for entry in document["layers"]]
    except (ValueError, LookupError, TypeError):
        return None
    same = (config, manifest.media_type) == (image.config_descriptor, image.manifest_media_type)
    if not same or len(layers) != len(image.layers):
        return None
    return replace(
        image,
        manifest=manifest.content,
        layers=tuple(replace(own, descriptor=other) for own, other in zip(image.layers, layers, strict=True)),
    )
