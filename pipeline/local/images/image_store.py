"""Images of the emulated ECR on disk, each pulled, verified and unpacked once.

    FOLDER/layers/<diff id>/   an unpacked layer
    FOLDER/images/<digest>/    rootfs, hard links into the layers; image.json

A folder is created elsewhere and renamed, so it is complete if it exists, also after a killed process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tarfile
import threading
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.temporary import sweep, temporary_folder
from pipeline.local.images.image_pull import Connect, ImageUnavailable, PulledImage, pull_description, pull_layer
from pipeline.local.images.unpack import UnsafeLayer, merge_layers, unpack_layer
from pipeline.oci.archive import UNPACKED_MAX
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Digest, ImageReference

# How many unused images are kept for a rollback.
KEPT_UNUSED = 10


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that is ready to run. ``environment`` and the following are those of the image config, unmapped."""

    digest: Digest
    rootfs: Path
    architecture: str
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]


class ImageStore:
    """Images under ``folder``; safe to use from several threads of one process."""

    def __init__(self, folder: Path, connect: Connect) -> None:
        self._folder = folder.resolve()
        self._connect = connect
        self._ready: dict[Digest, LocalImage] = {}
        # Pulling and pruning exclude each other, because images share layers.
        self._changing = threading.Lock()
        # Held only while an image is looked up or renamed.
        self._looking = threading.Lock()
        for name in ("images", "layers", "unpacking"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._unpacking = self._folder / "unpacking"
        sweep(self._unpacking)

    def ensure(self, reference: ImageReference) -> LocalImage:
        """The image with exactly ``reference.digest``, pulled if necessary. Raises ImageUnavailable."""
        digest = reference.digest
        if digest is None:
            raise ImageUnavailable(f"{reference} is not pinned by digest")
        with self._explained(reference):
            if (image := self._find(digest)) is None:
                with self._changing:
                    if not self._place(digest).exists():
                        self._pull(self._connect(reference.registry), reference.repository, digest)
                    image = self._find(digest)
        if image is None:
            raise ImageUnavailable(f"{reference} was removed from {self._folder} in the meantime")
        return image

    def _place(self, digest: Digest) -> Path:
        return self._folder / "images" / digest.hex

    def _find(self, digest: Digest) -> LocalImage | None:
        """The image if it is on disk; does not wait for pulls of other images."""
        if digest in self._ready:
            return self._ready[digest]
        place = self._place(digest)
        with self._looking:
            if not place.exists():
                return None
            try:
                image = self._ready[digest] = _load(place, digest)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                # Removed by hand or truncated by a full disk: pull it again.
                with contextlib.ExitStack() as doomed:
                    self._move_away(place, doomed)
                return None
            return image

    @contextlib.contextmanager
    def _explained(self, reference: ImageReference) -> Iterator[None]:
        try:
            yield
        except (UnsafeLayer, tarfile.TarError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ImageUnavailable(f"{reference} cannot be unpacked: {error}") from error
        except PipelineError as error:
            raise ImageUnavailable(f"{reference} cannot be pulled: {error.why}") from error
        except OSError as error:
            why = f"no space is left under {self._folder}" if error.errno == errno.ENOSPC else str(error)
            raise ImageUnavailable(f"{reference} cannot be pulled: {why}") from error

    def prune(self, used: Collection[Digest]) -> None:
        """Remove unused images except the latest KEPT_UNUSED, and the layers that only they had."""
        # Thousands of files, removed without holding the lock.
        with contextlib.ExitStack() as doomed, self._changing:
            keep = {digest.hex for digest in used}
            unused = [place for place in (self._folder / "images").iterdir() if place.name not in keep]
            unused.sort(key=lambda place: place.stat().st_mtime, reverse=True)
            for place in unused[KEPT_UNUSED:]:
                with self._looking:
                    self._ready.pop(Digest(place.name), None)
                    self._move_away(place, doomed)
            needed: set[str] = set()
            for place in (self._folder / "images").iterdir():
                needed |= _layers_of(place)
            for place in (self._folder / "layers").iterdir():
                if place.name not in needed:
                    self._move_away(place, doomed)

    def _move_away(self, place: Path, doomed: contextlib.ExitStack) -> None:
        """Rename the folder and add it to ``doomed``, so that a partly removed one is not found under its digest."""
        folder = doomed.enter_context(temporary_folder(self._unpacking))
        place.rename(folder / place.name)

    def _pull(self, registry: Registry, repository: str, digest: Digest) -> None:
        image = pull_description(registry, repository, digest)
        with temporary_folder(self._unpacking) as work:
            self._ensure_layers(registry, repository, image)
            names = [diff_id.hex for _, diff_id in image.layers]
            merge_layers([self._folder / "layers" / name for name in names], work / "rootfs")
            (work / "image.json").write_text(json.dumps({"config": image.config, "layers": names}))
            work.rename(self._place(digest))

    def _ensure_layers(self, registry: Registry, repository: str, image: PulledImage) -> None:
        """Pull and unpack the missing layers."""
        left = UNPACKED_MAX
        for layer, diff_id in image.layers:
            place = self._folder / "layers" / diff_id.hex
            if not place.exists():
                with temporary_folder(self._unpacking) as work:
                    archive, unpacked = work / "layer.tar", work / "layer"
                    pull_layer(registry, repository, layer, diff_id, archive, left)
                    size = unpack_layer(archive, unpacked, bytes_max=left)
                    (unpacked / "size").write_text(str(size))
                    unpacked.rename(place)
            left -= int((place / "size").read_text())


def _layers_of(place: Path) -> set[str]:
    """The diff ids of an image on disk; empty for a damaged one."""
    try:
        return set(json.loads((place / "image.json").read_text())["layers"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _load(place: Path, digest: Digest) -> LocalImage:
    if not (place / "rootfs").is_dir():
        raise FileNotFoundError(place / "rootfs")
    document: dict[str, Any] = json.loads((place / "image.json").read_text())["config"]
    os.utime(place)  # the time of last use, for prune
    config = document.get("config") or {}
    return LocalImage(
        digest=digest,
        rootfs=place / "rootfs",
        architecture=document["architecture"],
        entry_point=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        working_directory=config.get("WorkingDir") or "/",
        environment=tuple(
            (name, value) for name, _, value in (text.partition("=") for text in config.get("Env") or ())
        ),
        labels=tuple(sorted((config.get("Labels") or {}).items())),
    )
