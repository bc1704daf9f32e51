"""Resolve the base of an image: an image of any registry, an OCI layout on disk, or none.

A base by digest that was fetched once is read from the blob store, without a request. Its layers are fetched when a
push needs them, and copied unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.assembly.facts.glibc import AMAZON_LINUX_2, END_OF_AMAZON_LINUX_2, glibc_of
from pipeline.assembly.image import empty_base
from pipeline.assembly.model import Base, Platform
from pipeline.assembly.prebuilt import ENGINE
from pipeline.bases.from_engine import engine_base
from pipeline.bases.parsing import parse_base
from pipeline.bases.pins import AWS_BASE, FILE, move_pins, pinned_base
from pipeline.bases.resolve import Connect, hub_name, resolve_layout, resolve_reference
from pipeline.core.errors import BaseImageError
from pipeline.core.events import Note, Report, ignore, step
from pipeline.core.shown import counted
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import PREFIX, Layout, parse_layout_name
from pipeline.oci.registry.client import connect
from pipeline.oci.values import ImageReference

EMPTY = "empty"
_OUTDATED = (
    'AWS\'s base for Python {python} is Amazon Linux 2, which has had no security updates since {end}; python = "3.12"'
    " or newer in environments.toml uses Amazon Linux 2023"
)
_CURE = "Name an OCI layout on disk (oci:DIR) or `empty` as the base to build without it."


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
            running.detail = f"{counted(len(base.layers), 'layer')} from {folder}"
        elif text.startswith(ENGINE):
            base = engine_base(text.removeprefix(ENGINE), platform, store)
            running.detail = f"{counted(len(base.layers), 'layer')} from the engine"
        else:
            reference = _parse(text) if text else pinned_base(platform, pins)
            if reference.repository == AWS_BASE and glibc_of(platform.python) == AMAZON_LINUX_2:
                report(Note(_OUTDATED.format(python=platform.python, end=END_OF_AMAZON_LINUX_2)))
            connected = open_registry or partial(connect, report=report)
            base = fetch_base(reference, platform, store, open_registry=connected)
            running.detail = f"{counted(len(base.layers), 'layer')}, {base.reference}"
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
    found = resolve_reference(reference, platform, store, open_registry=open_registry, what=what, cure=_CURE)
    return parse_base(found.manifest, found.content, platform, found.reference, what)


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
    found = resolve_layout(layout, platform, store, name=name, what=what)
    base = parse_base(found.manifest, found.content, platform, None, what)
    for layer in base.layers:
        layout.copy_blob(layer.descriptor, store)
    return base


def _parse(text: str) -> ImageReference:
    try:
        return ImageReference.parse(text)
    except ValueError as error:
        raise BaseImageError(
            f"the base {text!r} cannot be used",
            str(error),
            "Name a reference such as public.ecr.aws/lambda/python:3.13, an OCI layout as oci:DIR, or `empty`.",
        ) from error
