"""Parse an image or a base from its manifest and config. Pure."""

from __future__ import annotations

from typing import Any

from pipeline.assembly.model import Base, Platform
from pipeline.core.documents import parse_json
from pipeline.core.errors import BaseImageError
from pipeline.oci.config import config_fault
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.values import DOCKER_MANIFEST, OCI_MANIFEST, Digest, ImageReference, Layer, Manifest


def parse_layers(manifest: Manifest, config: bytes, source: ImageReference | None, what: str) -> tuple[Layer, ...]:
    """The layers of a whole image, each with its ``source``. Raises BaseImageError with all faults."""
    layers, _, faults = _parse(manifest, config, source, "image", what)
    if faults:
        raise BaseImageError(what, "; ".join(faults), "Name another image, or push this one again.")
    return layers


def parse_base(
    manifest: Manifest, config: bytes, platform: Platform, reference: ImageReference | None, what: str
) -> Base:
    """Parse a base. Raises BaseImageError with all faults."""
    layers, document, faults = _parse(manifest, config, reference, "base", what)
    system, architecture = document.get("os"), document.get("architecture")
    if (system, architecture) != ("linux", platform.architecture.oci):
        faults.append(f"it is made for {system}/{architecture} and not for linux/{platform.architecture.oci}")
    # The images of python.org on Docker Hub name their version; AWS's do not.
    variables = dict(str(each).partition("=")[::2] for each in (document.get("config") or {}).get("Env") or [])
    python = variables.get("PYTHON_VERSION", "")
    if python and python.split(".")[:2] != str(platform.python).split("."):
        faults.append(f"it holds Python {python} and not {platform.python}")
    if faults:
        raise BaseImageError(
            what, "; ".join(faults), "Choose another base, or build for the platform and Python of this one."
        )
    return Base(config, layers, reference, docker=manifest.media_type == DOCKER_MANIFEST)


def _parse(
    manifest: Manifest, config: bytes, source: ImageReference | None, title: str, what: str
) -> tuple[tuple[Layer, ...], dict[str, Any], list[str]]:
    """The layers, the config's document, and the faults that leave an image readable."""
    if manifest.media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise BaseImageError(
            what, f"it is not a single image but {manifest.media_type or 'something unknown'}", "Name an image."
        )
    try:
        entries = parse_json(manifest.content)["layers"]
        descriptors = [parse_descriptor(entry) for entry in entries]
        document: dict[str, Any] = parse_json(config)
        if fault := config_fault(document):
            raise ValueError(fault)
        diff_ids = [str(text) for text in document["rootfs"]["diff_ids"]]
        layers = tuple(
            Layer(descriptor, Digest.parse(diff_id), title, source)
            for descriptor, diff_id in zip(descriptors, diff_ids, strict=False)
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BaseImageError(
            what, f"its manifest or config is not understood ({error})", "Name another image."
        ) from error
    faults = []
    if len(descriptors) != len(diff_ids):
        faults.append(f"its manifest has {len(descriptors)} layers and its config {len(diff_ids)}")
    if any(
        entry.get("urls") or "foreign" in entry["mediaType"] or "nondistributable" in entry["mediaType"]
        for entry in entries
    ):
        faults.append("some of its layers are not stored in registries")
    return layers, document, faults
