"""Read prebuilt images whole into the blob store, so that the check sees every layer and a push needs no registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from pipeline.assembly.check import failure, find_findings
from pipeline.assembly.model import EngineImage, FunctionSource, Image, LayoutImage, Platform, Prebuilt
from pipeline.bases.from_engine import engine_image
from pipeline.bases.parsing import parse_layers
from pipeline.bases.resolve import Connect, Resolved, hub_name, resolve_layout, resolve_reference
from pipeline.core.errors import CredentialsError, PipelineError, RegistryError, SourceError
from pipeline.core.events import BytesMoved, Report, ignore
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import Layout
from pipeline.oci.registry.client import connect
from pipeline.oci.values import ImageReference, Layer

_CURE = "An image that was read once needs no network."


def fetch_prebuilt(
    name: str,
    prebuilt: Prebuilt,
    platform: Platform,
    store: BlobStore,
    *,
    open_registry: Connect | None = None,
    report: Report = ignore,
) -> Image:
    """The image of the function ``name``, with all layers in ``store``; one that was read before is not read again.

    Manifest and config keep their bytes, so the digest stays; of an index, the platform's image is taken. An image of
    the engine gets a manifest made here.

    Raises SourceError for a reference without a digest, CheckFailed for a manifest or a config that Lambda refuses,
    BaseImageError, RegistryError, CredentialsError, and LocalError without a needed engine.
    """
    what = f"{name} was not copied from {prebuilt.written}"
    connected = open_registry or partial(connect, report=report)
    match prebuilt.place:
        case EngineImage(name=image):
            return engine_image(image, platform, store, what)
        case LayoutImage(folder=folder, name=chosen):
            layout = Layout(folder)
            found = resolve_layout(layout, platform, store, name=chosen, what=what)
            layers = parse_layers(found.manifest, found.content, None, what)
            _require_fit(name, found, layers, platform)
            for layer in layers:
                layout.copy_blob(layer.descriptor, store)
        case ImageReference(digest=None):
            raise _unpinned([_named(name, prebuilt.place, connected)])
        case ImageReference() as reference:
            found = resolve_reference(reference, platform, store, open_registry=connected, what=what, cure=_CURE)
            assert found.reference is not None  # noqa: S101  (of a registry)
            layers = parse_layers(found.manifest, found.content, replace(found.reference, tag=None), what)
            _require_fit(name, found, layers, platform)
            _fetch(name, layers, store, connected, report)
    return _image(found, layers, platform)


def require_digests(sources: Iterable[FunctionSource], *, open_registry: Connect = connect) -> None:
    """Raise SourceError if a prebuilt image is named by a tag alone, with the digests that such tags have now."""
    found = [
        _named(source.name, source.prebuilt.place, open_registry)
        for source in sources
        if source.prebuilt is not None
        and isinstance(source.prebuilt.place, ImageReference)
        and source.prebuilt.place.digest is None
    ]
    if found:
        raise _unpinned(found)


def _named(function: str, reference: ImageReference, open_registry: Connect) -> str:
    """What is wrong with a reference without a digest, and what to write."""
    reference, tag = hub_name(reference), reference.tag or "latest"
    text = f'{function}: image = "{reference}" has no digest, and a tag can be moved'
    try:
        with open_registry(reference.registry) as registry:
            digest = registry.head_manifest(reference.repository, tag)
    except (RegistryError, CredentialsError) as error:
        return f"{text}; its digest was not found out: {error.why}"
    if digest is None:
        return f"{text}; {reference.registry}/{reference.repository} has no tag {tag}"
    return f"{text}; it names {replace(reference, digest=digest)} now"


def _unpinned(found: list[str]) -> PipelineError:
    return SourceError(
        "no image was built",
        "; ".join(found),
        "Write the image with its digest in function.toml; the tag may stay: NAME:TAG@sha256:….",
    )


def _require_fit(name: str, found: Resolved, layers: Sequence[Layer], platform: Platform) -> None:
    """Raise CheckFailed for what manifest and config already show, before gigabytes are fetched."""
    if findings := find_findings(found.manifest, found.content, [None] * len(layers), platform):
        raise failure(name, findings)


def _fetch(name: str, layers: tuple[Layer, ...], store: BlobStore, open_registry: Connect, report: Report) -> None:
    """Fetch the layers that the store lacks."""
    missing = [layer for layer in layers if not store.has(layer.descriptor.digest, layer.descriptor.size)]
    if not missing:
        return
    source = missing[0].source
    assert source is not None  # noqa: S101  (of a registry)
    total, done = sum(layer.descriptor.size for layer in missing), 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        report(BytesMoved("fetch", name, done, total))

    with open_registry(source.registry) as registry:
        for layer in missing:
            registry.fetch_blob(source.repository, layer.descriptor, store, moved=moved)


def _image(found: Resolved, layers: tuple[Layer, ...], platform: Platform) -> Image:
    return Image(found.manifest.content, found.manifest.media_type, found.content, found.config, layers, platform)
