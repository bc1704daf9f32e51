"""Find an image in a registry or an OCI layout: its manifest for the platform, and its config.

What was fetched once by digest is read from the blob store, without a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.assembly.model import Platform
from pipeline.core.documents import parse_json
from pipeline.core.errors import BaseImageError, RegistryError
from pipeline.core.shown import first_few
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.layout import Layout, parse_descriptor, read_manifest
from pipeline.oci.registry.client import Registry, RegistryUnreachable
from pipeline.oci.values import Descriptor, ImageReference, Manifest

_DOCKER_HUB = "docker.io"
# A config has a few kB; a larger one is not fetched.
_CONFIG_MOST = 4 * 1024 * 1024
# Indexes in indexes: buildx writes one level, other tools two at most.
_DEPTH = 4

Connect = Callable[[str], Registry]


@dataclass(frozen=True, slots=True)
class Resolved:
    """One image. reference: with the digest of the manifest, for an image of a registry."""

    manifest: Manifest
    config: Descriptor
    content: bytes
    reference: ImageReference | None = None


def resolve_reference(
    reference: ImageReference, platform: Platform, store: BlobStore, *, open_registry: Connect, what: str, cure: str
) -> Resolved:
    """The image of a registry; manifest and config are kept in ``store``.

    what  the error if this fails; cure: what to do without a network
    Raises BaseImageError, CredentialsError.
    """
    reference = hub_name(reference)
    opened: list[Registry] = []

    def registry() -> Registry:
        if not opened:
            opened.append(open_registry(reference.registry))
        return opened[0]

    def manifest_of(descriptor: Descriptor) -> Manifest:
        cached = _cached(descriptor, store)
        if cached is None:
            cached = registry().fetch_manifest(reference.repository, descriptor.digest)
            store.add(cached.content)
        return cached

    try:
        if reference.digest is not None:
            found = manifest_of(Descriptor("", reference.digest, 0))
        else:
            found = registry().fetch_manifest(reference.repository, reference.tag or "latest")
        manifest = resolve_index(found, platform, manifest_of, what)
        store.add(manifest.content)
        pinned = ImageReference(reference.registry, reference.repository, reference.tag, manifest.digest)
        config = _config_descriptor(manifest, what)
        if _cached(config, store) is None:
            registry().fetch_blob(reference.repository, config, store)
    except RegistryUnreachable as error:
        raise BaseImageError(what, error.why, f"Check the network and the proxy settings. {cure}") from error
    except RegistryError as error:
        raise BaseImageError(what, error.why, error.next_step) from error
    finally:
        for one in opened:
            one.close()
    return Resolved(manifest, config, store.read(config.digest), pinned)


def resolve_layout(layout: Layout, platform: Platform, store: BlobStore, *, name: str | None, what: str) -> Resolved:
    """The image of an OCI layout; its config is copied into ``store``. Raises BaseImageError.

    name  selects the image by its ``org.opencontainers.image.ref.name``
    """
    entries = [entry for entry in layout.entries if name is None or entry.name == name]
    if not entries:
        names = first_few(entry.name for entry in layout.entries if entry.name) or "none by name"
        raise BaseImageError(what, f"the layout holds {names}", "Name one of its images: oci:DIR:NAME.")
    manifest = resolve_index(
        layout.manifest(entries[0].descriptor.digest) if len(entries) == 1 else layout.index(),
        platform,
        lambda descriptor: layout.manifest(descriptor.digest),
        what,
    )
    config = _config_descriptor(manifest, what)
    if _cached(config, store) is None:
        layout.copy_blob(config, store)
    return Resolved(manifest, config, store.read(config.digest))


def resolve_index(
    manifest: Manifest, platform: Platform, manifest_of: Callable[[Descriptor], Manifest], what: str
) -> Manifest:
    """The image of an index for the platform; a manifest that is not an index is returned unchanged.

    Raises BaseImageError with the platforms of the index.
    """
    for _ in range(_DEPTH):
        if not manifest.is_index:
            return manifest
        manifest = manifest_of(_choose(manifest, platform, what))
    raise BaseImageError(what, f"its indexes are nested more than {_DEPTH} deep", "Name the image itself by digest.")


def _choose(index: Manifest, platform: Platform, what: str) -> Descriptor:
    fitting: list[Descriptor] = []
    offered: set[str] = set()
    nested: list[Descriptor] = []
    try:
        for entry in parse_json(index.content)["manifests"]:
            place = entry.get("platform") or {}
            system, architecture = str(place.get("os", "")), str(place.get("architecture", ""))
            descriptor = parse_descriptor(entry)
            if "vnd.docker.reference.type" in (entry.get("annotations") or {}) or "artifactType" in entry:
                continue  # an attestation or another artifact, not an image
            if not architecture:
                nested.append(descriptor)
                continue
            variant = str(place.get("variant") or "")
            offered.add("/".join(part for part in (system, architecture, variant) if part))
            # arm64 is written with and without its only variant.
            plain = variant in ("", "v8") if architecture == "arm64" else not variant
            if (system, architecture) == ("linux", platform.architecture.oci) and plain:
                fitting.append(descriptor)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BaseImageError(what, f"its index is not understood ({error})", "Name another image.") from error
    distinct = list(dict.fromkeys(fitting)) or (nested if not offered and len(nested) == 1 else [])
    if len(distinct) == 1:
        return distinct[0]
    wanted = f"linux/{platform.architecture.oci}"
    if distinct:
        raise BaseImageError(
            what, f"it has {len(distinct)} images for {wanted}", "Name one of them by digest, or as oci:DIR:NAME."
        )
    raise BaseImageError(
        what,
        f"it has no image for {wanted}, only for {first_few(offered) or 'no platform that it names'}",
        "Choose another image, or build for an architecture that it has.",
    )


def hub_name(reference: ImageReference) -> ImageReference:
    """Complete a reference: no registry means Docker Hub, where a bare name means ``library/``."""
    if reference.registry not in ("", _DOCKER_HUB, "index.docker.io"):
        return reference
    repository = reference.repository if "/" in reference.repository else f"library/{reference.repository}"
    return ImageReference(_DOCKER_HUB, repository, reference.tag, reference.digest)


def _cached(descriptor: Descriptor, store: BlobStore) -> Manifest | None:
    """A small document from the store; None if it is missing or damaged."""
    if not store.has(descriptor.digest) or store.path(descriptor.digest).stat().st_size > _CONFIG_MOST:
        return None
    try:
        return read_manifest(store.read(descriptor.digest))
    except WrongContent:
        store.drop_damaged([descriptor.digest])
        return None


def _config_descriptor(manifest: Manifest, what: str) -> Descriptor:
    try:
        config = parse_descriptor(parse_json(manifest.content)["config"])
    except (ValueError, LookupError, TypeError) as error:
        raise BaseImageError(
            what,
            f"Lambda does not run images of its kind ({manifest.media_type or 'no media type'})",
            "Name another image.",
        ) from error
    if config.size > _CONFIG_MOST:
        raise BaseImageError(what, f"its config claims to have {config.size} bytes", "Name another image.")
    return config
