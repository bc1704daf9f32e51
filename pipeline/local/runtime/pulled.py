"""Pulled images on disk: each is fetched from the emulated ECR by its digest, verified and unpacked once.

    FOLDER/layers/<diff id>/      an unpacked layer
    FOLDER/images/<digest>/       rootfs, linked together from layers; image.json, written before the folder appears
    FOLDER/library/               byte code of Python's own library, shared by all images
    FOLDER/byte-code/             that of packages, by their names, shared by all images, too

A folder appears under its digest complete or not at all (it is made beside and renamed), so a killed process leaves
nothing that anybody could mistake for an image.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.assembly.model import TASK_ROOT
from pipeline.local.runtime.library import fill_library, share_library
from pipeline.local.runtime.unpack import UNPACKED_MAX, UnsafeLayer, merge_layers, unpack_layer
from pipeline.oci.values import (
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Digest,
    ImageReference,
)

_CHUNK = 1 << 20
# Manifests and configs are documents; anything larger is something else.
_DOCUMENT_MAX = 8 << 20
# How many images that no function uses stay for a way back.
KEPT_UNUSED = 10


class ImageUnavailable(Exception):
    """An image that cannot be had: missing in the registry, damaged, unsafe, or of a kind that Lambda refuses."""


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that is ready to run. ``environment`` and the rest are the image config's own, unmapped."""

    digest: Digest
    rootfs: Path
    architecture: str
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]

    @property
    def byte_code(self) -> Path:
        """Where Python keeps its byte code of this image, beside the tree and not in it."""
        return self.rootfs.parent / "byte-code"


class ImageStore:
    """Images of one registry under ``folder``; safe to use from several threads of one process."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder = folder.resolve()
        self._host = urlsplit(endpoint).netloc
        self._ready: dict[Digest, LocalImage] = {}
        # Pulled before a function wanted them: the registry may have lost them since.
        self._ahead: set[Digest] = set()
        # One at a time: what pulls and what prunes share the layers, and unpacking is bound by one interpreter anyway.
        self._changing = threading.Lock()
        # Held for a moment only: while an image is found, or taken away.
        self._looking = threading.Lock()
        for name in ("images", "layers", "unpacking", "byte-code"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def ensure(self, reference: ImageReference) -> LocalImage:
        """The image with exactly ``reference.digest``, pulled if need be. Raises ImageUnavailable."""
        digest = reference.digest
        if digest is None:
            raise ImageUnavailable(f"{reference} is not pinned by digest")
        with self._explained(reference):
            if digest in self._ahead:
                self._manifest(reference.repository, digest)
                self._ahead.discard(digest)
            if (image := self._find(digest)) is None:
                with self._changing:
                    if not self._place(digest).exists():
                        self._pull(reference.repository, digest)
                    image = self._find(digest)
        if image is None:
            raise ImageUnavailable(f"{reference} was removed from {self._folder} meanwhile")
        return image

    def _place(self, digest: Digest) -> Path:
        return self._folder / "images" / digest.hex

    def _find(self, digest: Digest) -> LocalImage | None:
        """The image if it is on disk, which does not wait for others being pulled."""
        if digest in self._ready:
            return self._ready[digest]
        place = self._place(digest)
        with self._looking:
            if not place.exists():
                return None
            try:
                image = self._ready[digest] = _load(place, digest)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                # Cleaned up by hand, or cut off by a full disk: it is pulled again.
                shutil.rmtree(self._set_aside(place), ignore_errors=True)
                return None
            return image

    def fill_library(self) -> None:
        """Have the byte code of Python's own library ready for workers."""
        fill_library(self._folder / "library")

    def pull_ahead(self, reference: ImageReference) -> None:
        """Pull an image that will likely be wanted; ``ensure`` asks the registry again. Raises ImageUnavailable."""
        digest = reference.digest
        if digest is None or digest in self._ready:
            return
        with self._changing, self._explained(reference):
            if not self._place(digest).exists():
                # Before it is there: whoever wants it meanwhile asks the registry too.
                self._ahead.add(digest)
                try:
                    self._pull(reference.repository, digest)
                except BaseException:
                    self._ahead.discard(digest)
                    raise

    @contextlib.contextmanager
    def _explained(self, reference: ImageReference) -> Iterator[None]:
        try:
            yield
        except (UnsafeLayer, tarfile.TarError, zlib.error, ValueError, KeyError, TypeError) as error:
            raise ImageUnavailable(f"{reference} cannot be unpacked: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            why = f"no space is left under {self._folder}" if full else str(error) or type(error).__name__
            raise ImageUnavailable(f"{reference} cannot be pulled: {why}") from error

    def prune(self, used: Collection[Digest]) -> None:
        """Remove images that nothing uses, but for the latest few, and the layers that were only theirs."""
        doomed = []
        with self._changing:
            keep = {digest.hex for digest in used}
            unused = [place for place in (self._folder / "images").iterdir() if place.name not in keep]
            unused.sort(key=lambda place: place.stat().st_mtime, reverse=True)
            for place in unused[KEPT_UNUSED:]:
                with self._looking:
                    self._ready.pop(Digest(place.name), None)
                    doomed.append(self._set_aside(place))
            needed: set[str] = set()
            for place in (self._folder / "images").iterdir():
                needed |= _layers_of(place)
            for place in (self._folder / "layers").iterdir():
                if place.name not in needed:
                    doomed.append(self._set_aside(place))
        # Thousands of files: whoever wants an image meanwhile does not wait for that.
        for each in doomed:
            shutil.rmtree(each, ignore_errors=True)

    def _set_aside(self, place: Path) -> Path:
        """Renamed first: a folder that is half removed must not be found under its digest."""
        doomed = Path(tempfile.mkdtemp(dir=self._folder / "unpacking"))
        place.rename(doomed / place.name)
        return doomed

    def _pull(self, repository: str, digest: Digest) -> None:
        place = self._place(digest)
        work = Path(tempfile.mkdtemp(dir=self._folder / "unpacking"))
        try:
            config, diff_ids = self._ensure_layers(repository, digest)
            merge_layers([self._folder / "layers" / diff_id.hex for diff_id in diff_ids], work / "rootfs")
            about = {"config": config, "layers": [diff_id.hex for diff_id in diff_ids]}
            (work / "image.json").write_text(json.dumps(about))
            self._share_byte_code(work, place, diff_ids)
            share_library(work / "byte-code", self._folder / "library")
            work.rename(place)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _ensure_layers(self, repository: str, digest: Digest) -> tuple[dict[str, Any], list[Digest]]:
        """Fetch and unpack all layers of an image; its config, and the layers' diff ids from the lowest on."""
        manifest = self._manifest(repository, digest)
        config: dict[str, Any] = json.loads(self._document(repository, Digest.parse(manifest["config"]["digest"])))
        diff_ids = [Digest.parse(text) for text in config["rootfs"]["diff_ids"]]
        if len(diff_ids) != len(manifest["layers"]):
            raise ImageUnavailable(f"{repository}@{digest} has {len(manifest['layers'])} layers, {len(diff_ids)} named")
        left = UNPACKED_MAX
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
            left -= self._ensure_layer(repository, layer, diff_id, left)
        return config, diff_ids

    def _manifest(self, repository: str, digest: Digest) -> dict[str, Any]:
        content = self._document(repository, digest, kind="manifests")
        manifest: dict[str, Any] = json.loads(content)
        media_type = manifest.get("mediaType") or OCI_MANIFEST
        if media_type in (OCI_INDEX, DOCKER_INDEX) or "manifests" in manifest:
            raise ImageUnavailable(f"{repository}@{digest} is an image index, which Lambda refuses; push one image")
        if media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
            raise ImageUnavailable(f"{repository}@{digest} has a manifest of type {media_type!r}, which Lambda refuses")
        return manifest

    def _document(self, repository: str, digest: Digest, kind: str = "blobs") -> bytes:
        content = b"".join(self._blob(repository, digest, kind, _DOCUMENT_MAX))
        if Digest.of(content) != digest:
            raise ImageUnavailable(f"the registry answered {Digest.of(content)} for {repository}@{digest}")
        return content

    def _blob(self, repository: str, digest: Digest, kind: str, size: int) -> Iterator[bytes]:
        """The bytes of a blob or manifest, at most ``size``; verifying them is the caller's."""
        connection = http.client.HTTPConnection(self._host, timeout=60)
        try:
            accept = {"Accept": f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"} if kind == "manifests" else {}
            connection.request("GET", f"/v2/{repository}/{kind}/{digest}", headers=accept)
            response = connection.getresponse()
            if response.status == 404:
                raise ImageUnavailable(f"{repository}@{digest} is not in the registry; run `up` to push it")
            if response.status != 200:
                raise ImageUnavailable(f"the registry answered {response.status} for {repository}@{digest}")
            count = 0
            while chunk := response.read(_CHUNK):
                count += len(chunk)
                if count > size:
                    raise ImageUnavailable(f"{repository}@{digest} has more than the {size} bytes promised")
                yield chunk
        finally:
            connection.close()

    def _ensure_layer(self, repository: str, layer: dict[str, Any], diff_id: Digest, bytes_max: int) -> int:
        """Fetch, verify and unpack a layer unless it is there; returns its unpacked bytes."""
        place = self._folder / "layers" / diff_id.hex
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=self._folder / "unpacking") as name:
                archive, unpacked = Path(name) / "layer.tar", Path(name) / "layer"
                self._fetch_layer(repository, layer, diff_id, archive, bytes_max)
                size = unpack_layer(archive, unpacked, bytes_max=bytes_max)
                (unpacked / "size").write_text(str(size))
                unpacked.rename(place)
        return int((place / "size").read_text())

    def _fetch_layer(
        self, repository: str, layer: dict[str, Any], diff_id: Digest, archive: Path, bytes_max: int
    ) -> None:
        """Write the uncompressed archive; nothing looks into it before both of its digests were found right."""
        media_type, digest = layer["mediaType"], Digest.parse(layer["digest"])
        if media_type not in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP):
            raise ImageUnavailable(f"the layer {digest} is {media_type!r}; Lambda takes gzip layers")
        compressed, plain, count = hashlib.sha256(), hashlib.sha256(), 0
        inflate = zlib.decompressobj(wbits=31)
        with archive.open("wb") as file:
            for chunk in self._blob(repository, digest, "blobs", int(layer["size"])):
                compressed.update(chunk)
                pending = chunk
                while pending:
                    content = inflate.decompress(pending, _CHUNK)
                    # A gzip file may have several members, one after the other.
                    pending = inflate.unconsumed_tail or inflate.unused_data
                    if inflate.eof and pending:
                        inflate = zlib.decompressobj(wbits=31)
                    count += len(content)
                    # An archive's headers are small beside its content, or the content is not worth having.
                    if count > 2 * bytes_max:
                        raise UnsafeLayer("more bytes than an image may have")
                    plain.update(content)
                    file.write(content)
            while content := inflate.decompress(inflate.unconsumed_tail, _CHUNK):
                plain.update(content)
                file.write(content)
        if compressed.hexdigest() != digest.hex or plain.hexdigest() != diff_id.hex:
            raise ImageUnavailable(f"the layer {digest} is not what the image's manifest and config promise")

    def _share_byte_code(self, work: Path, place: Path, diff_ids: list[Digest]) -> None:
        """Compile no package twice, and begin with the byte code of the modules of an image that shares layers.

        Python takes byte code only for a source of the same time and size, and the time is made of the content
        (see unpack.py), so what was changed is compiled anew. Packages of one name usually have one content, and then
        nobody compiles them after the first; modules of a function do not, so each image has its own.
        """
        target = _modules_byte_code(work, place)
        target.mkdir(parents=True)
        task_root = Path(f"{work}/rootfs{TASK_ROOT}")
        for package in (each for each in _entries(task_root) if each.is_dir(follow_symlinks=False)):
            shared = self._folder / "byte-code" / package.name
            shared.mkdir(exist_ok=True)
            (target / package.name).symlink_to(shared)
        mine, best = {diff_id.hex for diff_id in diff_ids}, (0, 0.0, place)
        for other in (self._folder / "images").iterdir():
            best = max(best, (len(mine & _layers_of(other)), other.stat().st_mtime, other))
        layers, _, other = best
        if layers:
            for module in _entries(_modules_byte_code(other, other)):
                # A worker may just be writing there; what is not there is compiled anew.
                if module.name.endswith(".pyc"):
                    with contextlib.suppress(OSError):
                        os.link(module.path, target / module.name)


def _modules_byte_code(folder: Path, place: Path) -> Path:
    """Where Python keeps byte code of the modules of the image at ``place``, which is still made in ``folder``."""
    return Path(f"{folder}/byte-code{place}/rootfs{TASK_ROOT}")


def _layers_of(place: Path) -> set[str]:
    """The diff ids of an image on disk; none of one that is damaged, which is no other's trouble."""
    try:
        return set(json.loads((place / "image.json").read_text())["layers"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where it is none, or leads elsewhere."""
    try:
        with os.scandir(folder) as entries:
            return [] if folder.is_symlink() else list(entries)
    except OSError:
        return []


def _load(place: Path, digest: Digest) -> LocalImage:
    if not (place / "rootfs").is_dir():
        raise FileNotFoundError(place / "rootfs")
    document = json.loads((place / "image.json").read_text())["config"]
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
