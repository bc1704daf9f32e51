"""Push checked images to a registry: blobs first, then the manifest by digest, the tag last.

A killed push leaves blobs, or a manifest without its tag; the next push finds them and continues.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from pipeline.assembly.model import CheckedImage, Image, PushedImage
from pipeline.core.errors import NextStep, RegistryError
from pipeline.core.events import BytesMoved, Note, Report, ignore
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, RegistryRefused, connect
from pipeline.oci.registry.refusals import DamagedCopy, MediaTypeConflict
from pipeline.oci.values import Artifact, Descriptor, Digest, ImageReference, Layer, Manifest
from pipeline.release.attach import attach

# Blobs and manifests that move at the same time.
PARALLEL = 8
_REPORT_SECONDS = 0.1

_T = TypeVar("_T")
Connect = Callable[[str], Registry]


@dataclass(frozen=True, slots=True)
class Push:
    """An image and its repository: ``Push("123….amazonaws.com/fraud-detection-dev", checked, tag="9f2c…")``.

    artifacts  returns the referrers to push with the image, such as its SBOM; called once
    """

    repository_uri: str
    checked: CheckedImage
    tag: str | None = None
    artifacts: Callable[[], tuple[Artifact, ...]] = tuple


def push_image(
    registry: Registry,
    repository_uri: str,
    checked: CheckedImage,
    store: BlobStore,
    *,
    tag: str | None = None,
    artifacts: tuple[Artifact, ...] = (),
    open_registry: Connect = connect,
    report: Report = ignore,
) -> PushedImage:
    """Push one image; see ``push_images``."""
    push = Push(repository_uri, checked, tag, lambda: artifacts)
    return push_images(registry, [push], store, open_registry=open_registry, report=report)[0]


def push_images(
    registry: Registry,
    pushes: Sequence[Push],
    store: BlobStore,
    *,
    open_registry: Connect = connect,
    report: Report = ignore,
) -> tuple[PushedImage, ...]:
    """Push images to repositories of one registry; shared blobs are fetched once and mounted if possible.

    An image that the registry has is not sent again. Each image is read back by digest before it is tagged. A tag that
    names another image is moved; in an immutable repository that is an error.

    open_registry  opens the registry of base layers that the store lacks
    Raises RegistryError, BaseImageError if a base layer is not available, CredentialsError.
    """
    work = [_Work(push, _repository(registry, push), blobs=_blobs(push.checked.image)) for push in pushes]
    stop = threading.Event()
    pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="push")
    try:
        _all(pool.submit(_find, registry, item) for item in work)
        missing = [item for item in work if not item.present]
        for item in missing:
            item.progress = _Progress(report, stop, item.push.checked.function, _size(item.push.checked.image))
        lenders = _lenders(work)
        own = [(item, blob) for item in missing for blob in item.blobs if lenders[blob.descriptor.digest] is item]
        # Largest first: they determine the total time.
        own.sort(key=lambda pair: (-pair[1].descriptor.size, pair[1].descriptor.digest))
        bring = _Bringing(registry, store, _Sources(registry, open_registry, store, report, stop))
        _all(pool.submit(bring, item, blob) for item, blob in own)
        stored: dict[int, Future[None]] = {}
        for item in missing:
            borrowed = [(blob, lenders[blob.descriptor.digest]) for blob in item.blobs]
            borrowed = [(blob, lender) for blob, lender in borrowed if lender is not item]
            # Lenders are submitted before their borrowers, so a full pool cannot deadlock.
            waits = [stored[id(lender)] for _, lender in borrowed if not lender.present]
            stored[id(item)] = pool.submit(_store, registry, item, borrowed, waits, bring)
        _all(stored.values())
        # Artifacts come after all images.
        return tuple(_all(pool.submit(_complete, registry, item, store, report) for item in work))
    except DamagedCopy as damaged:
        stop.set()
        registry.interrupt()
        _drop_damaged(work, store, damaged)
        raise
    except BaseException:
        # Also for Ctrl-C: running transfers stop at their next block or wait.
        stop.set()
        registry.interrupt()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _drop_damaged(work: Sequence[_Work], store: BlobStore, damaged: DamagedCopy) -> None:
    """Remove all damaged blobs of the images from the cache, so that the next run creates them again.

    Raises RegistryError if there were any.
    """
    layers = {layer.descriptor.digest for item in work for layer in item.push.checked.image.layers}
    artifacts = {blob.digest for item in work for artifact in item.artifacts or () for blob in artifact.blobs}
    dropped = store.drop_damaged(sorted(layers | artifacts))
    if dropped:
        raise RegistryError(
            damaged.what,
            f"{len(dropped)} of its blobs in the cache {store.root} were damaged and have been removed",
            "Run the command again to create them.",
        ) from damaged


class _Stopped(Exception):
    """Another part of the push failed."""


class _Progress:
    """Counts and reports the transferred bytes of one image."""

    def __init__(self, report: Report, stop: threading.Event, subject: str, total: int, step: str = "push") -> None:
        self._report, self._stop, self._subject, self._total, self._step = report, stop, subject, total, step
        self._lock = threading.Lock()
        self._done = 0
        self._reported = 0.0

    def add(self, count: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported < _REPORT_SECONDS and self._done < self._total:
                return
            self._reported = now
            self._report(BytesMoved(self._step, self._subject, self._done, self._total))


@dataclass(slots=True)
class _Work:
    push: Push
    repository: str
    present: bool = False
    uploaded: int = 0
    progress: _Progress | None = None
    artifacts: tuple[Artifact, ...] | None = None
    blobs: tuple[_Blob, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)
    known: Mapping[str, Manifest] = field(default_factory=dict)

    def sent(self, count: int) -> None:
        with self.lock:
            self.uploaded += count

    def moved(self, count: int) -> None:
        if self.progress is not None:
            self.progress.add(count)


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob of an image: its config, or a layer from the store or a base."""

    descriptor: Descriptor
    content: bytes | None = None
    layer: Layer | None = None


class _Sources:
    """The registries of base layers; fetches each layer once."""

    def __init__(
        self, target: Registry, open_registry: Connect, store: BlobStore, report: Report, stop: threading.Event
    ) -> None:
        self._opened: dict[str, Registry] = {target.host: target}
        self._open = open_registry
        self._store = store
        self._report = report
        self._stop = stop
        self._lock = threading.Lock()

    def fetch(self, layer: Layer) -> None:
        if layer.source is None:
            raise RegistryError(
                f"the layer {layer.descriptor.digest} ({layer.title}) was not pushed",
                f"it is not in the cache {self._store.root}",
                NextStep("Build the image again", ("build",)),
            )
        with self._lock:
            registry = self._opened.get(layer.source.registry)
            if registry is None:
                registry = self._opened[layer.source.registry] = self._open(layer.source.registry)
        progress = _Progress(self._report, self._stop, str(layer.source), layer.descriptor.size, "fetch")
        registry.fetch_blob(layer.source.repository, layer.descriptor, self._store, moved=progress.add)


def _repository(registry: Registry, push: Push) -> str:
    reference = ImageReference.parse(push.repository_uri)
    if reference.registry not in ("", registry.host) or reference.tag or reference.digest:
        raise ValueError(f"{push.repository_uri!r} is no repository of {registry.host}")
    return reference.repository


def _find(registry: Registry, item: _Work) -> None:
    """Find out whether the registry has the image; with a lookup also its tag and artifacts, in the same request."""
    if registry.has_lookup:
        item.known = registry.known_manifests(item.repository, _references(item))
    try:
        item.present = _read_back(registry, item, item.known)
    except MediaTypeConflict:
        # It is stored with another media type. Storing it again corrects that, or the read-back fails.
        item.present = False


def _references(item: _Work) -> list[Digest | str]:
    """Everything that the push is to leave in the repository, by digest and tag."""
    item.artifacts = item.push.artifacts()
    tags = [item.push.tag, *(artifact.tag for artifact in item.artifacts)]
    digests = [item.push.checked.image.digest, *(artifact.manifest.digest for artifact in item.artifacts)]
    return [*dict.fromkeys(digests), *dict.fromkeys(tag for tag in tags if tag is not None)]


def _read_back(registry: Registry, item: _Work, known: Mapping[str, Manifest] | None = None) -> bool:
    """Whether the registry has the image. Raises MediaTypeConflict if it has the bytes with another media type."""
    image = item.push.checked.image
    found = (known or {}).get(str(image.digest)) or registry.find_manifest(item.repository, image.digest, push=True)
    if found is not None and (found.content, found.media_type) != (image.manifest, image.manifest_media_type):
        raise MediaTypeConflict(
            f"{item.push.checked.function} was not pushed",
            f"{registry.host}/{item.repository} has {image.digest} as {found.media_type} "
            f"instead of {image.manifest_media_type}",
            "Delete that image from the repository and run the command again.",
        )
    return found is not None


def _lenders(work: Sequence[_Work]) -> dict[Digest, _Work]:
    """Digest → the image whose repository gets the blob first. Others mount it once that image's manifest is stored.

    ECR mounts only blobs that a manifest of the other repository refers to, so images that exist come first.
    """
    lenders: dict[Digest, _Work] = {}
    for item in sorted(work, key=lambda item: not item.present):
        for blob in item.blobs:
            lenders.setdefault(blob.descriptor.digest, item)
    return lenders


@dataclass(frozen=True, slots=True)
class _Bringing:
    """Copies blobs into repositories: mounts them if possible, else uploads them."""

    registry: Registry
    store: BlobStore
    sources: _Sources

    def __call__(self, item: _Work, blob: _Blob, lender: str | None = None) -> None:
        """Copy one blob into the image's repository. lender: a repository that has it."""
        layer, digest, size = blob.layer, blob.descriptor.digest, blob.descriptor.size
        if layer is not None and not self.store.has(digest, size):
            if self.registry.head_blob(item.repository, digest, push=True) is not None:
                item.moved(size)
                return
            self.sources.fetch(layer)
        if (
            lender is None
            and layer is not None
            and layer.source is not None
            and layer.source.registry == self.registry.host
        ):
            lender = layer.source.repository
        mount_from = [lender] if lender is not None and lender != item.repository else []
        sent = _upload(self.registry, item, blob, self.store, mount_from)
        if not sent:
            item.moved(size)
        item.sent(sent)


def _upload(registry: Registry, item: _Work, blob: _Blob, store: BlobStore, mount_from: list[str]) -> int:
    content = blob.content

    def open_stream() -> BinaryIO:
        return io.BytesIO(content) if content is not None else store.open(blob.descriptor.digest)

    try:
        return registry.upload_blob(
            item.repository, blob.descriptor, open_stream, mount_from=mount_from, moved=item.moved
        )
    except FileNotFoundError as error:
        raise RegistryError(
            f"{item.push.checked.function} was not pushed",
            f"its blob {blob.descriptor.digest} vanished from the cache {store.root}",
            NextStep("Build the image again", ("build",)),
        ) from error


def _store(
    registry: Registry,
    item: _Work,
    borrowed: Sequence[tuple[_Blob, _Work]],
    waits: Sequence[Future[None]],
    bring: _Bringing,
) -> None:
    """Mount the borrowed blobs, store the manifest and read it back. waits: manifests that must be stored first."""
    for each in waits:
        each.result()
    for blob, lender in borrowed:
        bring(item, blob, lender.repository)
    image = item.push.checked.image
    registry.put_manifest(item.repository, Manifest(image.manifest, image.manifest_media_type))
    item.sent(len(image.manifest))
    if not _read_back(registry, item):
        raise RegistryError(
            f"{item.push.checked.function} was not pushed",
            f"{registry.host}/{item.repository} accepted the manifest {image.digest} and does not return it",
            "Run the command again; if the error persists, report it to the registry's operator.",
        )


def _complete(registry: Registry, item: _Work, store: BlobStore, report: Report) -> PushedImage:
    """Push the artifacts of an image, then tag it. A rejected artifact is reported as a note."""
    image = item.push.checked.image
    if item.artifacts is None:
        item.artifacts = item.push.artifacts()
    for artifact in item.artifacts:
        try:
            item.sent(attach(registry, item.repository, image.digest, artifact, store, known=item.known))
        except RegistryRefused as refused:
            kind = artifact.artifact_type
            report(Note(f"{item.push.checked.function} was pushed without its {kind}: {refused.why}"))
    if item.push.tag is not None:
        _tag(registry, item, item.push.tag)
    return PushedImage(item.push.checked.function, f"{registry.host}/{item.repository}", image.digest, item.uploaded)


def _tag(registry: Registry, item: _Work, tag: str) -> None:
    image = item.push.checked.image
    known = item.known.get(tag)
    named = known.digest if known is not None else registry.head_manifest(item.repository, tag, push=True)
    if named == image.digest:
        return
    try:
        registry.put_manifest(item.repository, Manifest(image.manifest, image.manifest_media_type), tag=tag)
    except RegistryRefused as refused:
        # ECR refuses to set an immutable tag, even to what it names already (aws/containers-roadmap #2179).
        named = registry.head_manifest(item.repository, tag, push=True) if 400 <= refused.status < 500 else None
        if named is None:
            raise
        if named != image.digest:
            raise RegistryError(
                f"{item.push.checked.function} was pushed, but not tagged {tag}",
                f"in {registry.host}/{item.repository} that tag names {named} and cannot be moved to {image.digest}",
                "Choose another tag; tags derived from the digest never collide.",
            ) from refused
    item.sent(len(image.manifest))


def _blobs(image: Image) -> tuple[_Blob, ...]:
    """The distinct blobs of an image; an empty layer may occur twice."""
    blobs = [_Blob(image.config_descriptor, content=image.config)]
    blobs += [_Blob(layer.descriptor, layer=layer) for layer in image.layers]
    return tuple({blob.descriptor.digest: blob for blob in blobs}.values())


def _size(image: Image) -> int:
    return sum(blob.descriptor.size for blob in _blobs(image))


def _all(futures: Iterable[Future[_T]]) -> list[_T]:
    """The results in order; raises the first failure as soon as it occurs."""
    waiting = list(futures)
    done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
    failures = [error for future in waiting if future in done and (error := future.exception()) is not None]
    for error in failures:
        if not isinstance(error, _Stopped):
            raise error
    return [future.result() for future in waiting]
