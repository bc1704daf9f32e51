"""Resolve the base of an image: an image of any registry, an OCI layout on disk, or none.

A base by digest that was fetched once is read from the blob store, without a request. Its layers are fetched when a
push needs them, and copied unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.assembly.image import empty_base
from pipeline.assembly.model import Base, Platform
from pipeline.bases.from_engine import engine_base
from pipeline.bases.parsing import parse_base
from pipeline.bases.pins import FILE, move_pins, pinned_base
from pipeline.core.documents import parse_json
from pipeline.core.errors import BaseImageError, RegistryError
from pipeline.core.events import Report, ignore, step
from pipeline.core.shown import first_few
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.layout import PREFIX, Layout, parse_descriptor, parse_layout_name, read_manifest
from pipeline.oci.registry.client import Registry, RegistryUnreachable, connect
from pipeline.oci.values import Descriptor, ImageReference, Manifest

EMPTY = "empty"
ENGINE = "docker-daemon:"
_DOCKER_HUB = "docker.io"
# A config has a few kB; a larger one is not fetched.
_CONFIG_MOST = 4 * 1024 * 1024
# Indexes in indexes: buildx writes one level, other tools two at most.
_DEPTH = 4
_CURE = "Name an OCI layout on disk (oci:DIR) or `empty` as the base to build without it."

Connect = Callable[[str], Registry]


def choose_base(
    text: str,
    platform: Platform,
    store: BlobStore,
    *,
    pins: Path = Path(FILE),
    open_registry: Connect | None = None,
    report: Report = ignore,
) -> Base:
    """The base that ``text`` names.

    ""                    the base that the file ``pins`` has for the platform
    "empty"               no base: the image has its own layers only
    "oci:DIR"             the OCI layout in DIR, or a path of one; "oci:DIR:NAME" when it holds several images
    "docker-daemon:NAME"  the container engine's image NAME; the prefix is that of containers-transports(5)
    anything else         a reference such as "public.ecr.aws/lambda/python:3.13"

    Raises BaseImageError, CredentialsError, and LocalError if a needed engine is not running.
    """
    if text == EMPTY:
        return empty_base(platform)
    with step(report, "base", text or str(platform)) as running:
        if text.startswith(PREFIX) or text.startswith((".", "/", "~")):
            folder, name = parse_layout_name(text)
            base = layout_base(folder, platform, store, name=name)
            running.detail = f"{len(base.layers)} layers from {folder}"
        elif text.startswith(ENGINE):
            base = engine_base(text.removeprefix(ENGINE), platform, store)
            running.detail = f"{len(base.layers)} layers from the engine"
        else:
            reference = _parse(text) if text else pinned_base(platform, pins)
            connected = open_registry or partial(connect, report=report)
            base = fetch_base(reference, platform, store, open_registry=connected)
            running.detail = f"{len(base.layers)} layers, {base.reference}"
    return base


def fetch_base(
    reference: ImageReference | str,
    platform: Platform,
    store: BlobStore,
    *,
    open_registry: Connect = connect,
) -> Base:
    """A base in a registry: manifest and config are fetched, the layers when a push needs them.

    Raises BaseImageError, CredentialsError.
    """
    reference = hub_name(_parse(reference) if isinstance(reference, str) else reference)
    what = f"the base {reference} was not fetched"
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
        raise BaseImageError(what, error.why, f"Check the network and the proxy settings. {_CURE}") from error
    except RegistryError as error:
        raise BaseImageError(what, error.why, error.next_step) from error
    finally:
        for one in opened:
            one.close()
    return parse_base(manifest, store.read(config.digest), platform, pinned, what)


def update_base(
    platforms: Sequence[Platform], store: BlobStore, *, pins: Path, open_registry: Connect = connect
) -> dict[Platform, tuple[ImageReference | None, ImageReference]]:
    """Pin the current images of the default references in the file ``pins``; returns each pin before and after.

    Raises BaseImageError, and then changes no pin.
    """

    def resolve(reference: ImageReference, platform: Platform) -> ImageReference:
        found = fetch_base(reference, platform, store, open_registry=open_registry).reference
        return found if found is not None else reference

    return move_pins(platforms, resolve, path=pins)


def layout_base(folder: Path, platform: Platform, store: BlobStore, *, name: str | None = None) -> Base:
    """A base from an OCI layout on disk; its layers are copied into the store, so the layout may be deleted.

    name  selects the image by its ``org.opencontainers.image.ref.name``
    Raises BaseImageError.
    """
    what = f"the base oci:{folder}{f':{name}' if name else ''} was not read"
    layout = Layout(folder)
    entries = [entry for entry in layout.entries if name is None or entry.name == name]
    if not entries:
        names = first_few(entry.name for entry in layout.entries if entry.name) or "none by name"
        raise BaseImageError(what, f"the layout holds {names}", "Name one of its images: oci:DIR:NAME.")
    manifest = resolve_index(
        _only(entries[0].descriptor, layout) if len(entries) == 1 else layout.index(),
        platform,
        lambda descriptor: layout.manifest(descriptor.digest),
        what,
    )
    config = _config_descriptor(manifest, what)
    if _cached(config, store) is None:
        layout.copy_blob(config, store)
    base = parse_base(manifest, store.read(config.digest), platform, None, what)
    for layer in base.layers:
        layout.copy_blob(layer.descriptor, store)
    return base


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
        raise BaseImageError(what, f"its index is not understood ({error})", "Name another base.") from error
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
        "Choose another base, or build for an architecture that it has.",
    )


def hub_name(reference: ImageReference) -> ImageReference:
    """Complete a reference: no registry means Docker Hub, where a bare name means ``library/``."""
    if reference.registry not in ("", _DOCKER_HUB, "index.docker.io"):
        return reference
    repository = reference.repository if "/" in reference.repository else f"library/{reference.repository}"
    return ImageReference(_DOCKER_HUB, repository, reference.tag, reference.digest)


def _parse(text: str) -> ImageReference:
    try:
        return ImageReference.parse(text)
    except ValueError as error:
        raise BaseImageError(
            f"the base {text!r} cannot be used",
            str(error),
            "Name a reference such as public.ecr.aws/lambda/python:3.13, an OCI layout as oci:DIR, or `empty`.",
        ) from error


def _only(descriptor: Descriptor, layout: Layout) -> Manifest:
    return layout.manifest(descriptor.digest)


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
            "Name another base.",
        ) from error
    if config.size > _CONFIG_MOST:
        raise BaseImageError(what, f"its config claims to have {config.size} bytes", "Name another base.")
    return config
