"""A registry that speaks the OCI distribution protocol: manifests and blobs, verified on their way in and out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from pipeline.core.documents import parse_json
from pipeline.core.errors import RegistryError
from pipeline.core.events import Report, ignore
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.registry.auth import repository_scope
from pipeline.oci.registry.connections import BLOCK, is_loopback
from pipeline.oci.registry.ecr import Lookup
from pipeline.oci.registry.logins import Credentials, CredentialSource, DockerLogin
from pipeline.oci.registry.refusals import MediaTypeConflict, RegistryRefused, RegistryUnreachable, is_ecr
from pipeline.oci.registry.retries import Pace, Retries, whole_number
from pipeline.oci.registry.transport import Answer, ConnectionLost, Request, Transport
from pipeline.oci.registry.upload import CHUNK, Upload
from pipeline.oci.values import MANIFEST_TYPES, OCI_INDEX, Descriptor, Digest, Manifest

__all__ = ["Credentials", "Registry", "RegistryRefused", "RegistryUnreachable", "Retries", "connect"]

# The distribution specification asks registries to take manifests of up to 4 MiB; ours have a few kB.
MANIFEST_MOST = 4 * 1024 * 1024
# ECR's quota for PutImage is 10 a second; one below it, since clocks differ.
ECR_MANIFESTS_PER_SECOND = 9
_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_DOCKER_HUB = "https://registry-1.docker.io"


def _count_nothing(_count: int) -> None:
    """A progress that goes nowhere."""


class Registry:
    """The registry that images call ``host``; safe for concurrent use by threads.

    endpoint_url  where it is really served, when that is not ``host``: an emulator serves
                  "000000000000.dkr.ecr.us-east-1.amazonaws.com" at "http://127.0.0.1:4566"
    credentials   a login or where logins come from; None stays anonymous
    chunk_size    bytes of one request of a large upload; a smaller blob is sent in one
    lookup        reads many manifests of a repository at once, where the registry has such an API (see ``ecr_lookup``)
    """

    def __init__(
        self,
        host: str,
        *,
        endpoint_url: str | None = None,
        credentials: CredentialSource | None = None,
        retries: Retries | None = None,
        report: Report = ignore,
        chunk_size: int = CHUNK,
        lookup: Lookup | None = None,
    ) -> None:
        self.host = host
        self._lookup = lookup
        self._chunk_size = chunk_size
        self._transport = Transport(
            host, endpoint_url=endpoint_url, credentials=credentials, retries=retries, report=report
        )
        quota = is_ecr(host) and not is_loopback(self._transport.base.partition("://")[2])
        self._pace = Pace(ECR_MANIFESTS_PER_SECOND if quota else None)

    @property
    def has_lookup(self) -> bool:
        return self._lookup is not None

    @property
    def manifests_per_second(self) -> int | None:
        """How many manifests are stored in a second at most; None where no quota is known."""
        return self._pace.per_second

    def close(self) -> None:
        """Close the connections; the registry can be used again afterwards."""
        self._transport.close()

    def interrupt(self) -> None:
        """End the waits between attempts that are under way in other threads, whose calls then fail."""
        self._transport.interrupt()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def head_blob(self, repository: str, digest: Digest, *, push: bool = False) -> int | None:
        """The size of a blob in bytes, or None when the repository does not have it."""
        scopes = _scopes(repository, push=push)
        answer = self._transport.request(Request("HEAD", f"/v2/{repository}/blobs/{digest}", scopes))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._transport.refusal(answer, f"{digest} was not found at {self.host}/{repository}")
        return whole_number(answer.headers.get("Content-Length")) or 0

    def open_blob(self, repository: str, descriptor: Descriptor) -> Iterator[bytes]:
        """The bytes of a blob, block by block; a lost connection is continued where it broke.

        The size is held against the descriptor, the digest is for the reader to verify (``BlobStore.write`` does).
        Raises RegistryError.
        """
        what = f"{descriptor.digest} was not fetched from {self.host}/{repository}"
        url = f"/v2/{repository}/blobs/{descriptor.digest}"
        whole = Request("GET", url, _scopes(repository), stream=True, expected=descriptor.size)
        ends = time.monotonic() + whole.seconds
        offset = safe = failures = 0
        while True:
            request = whole.with_header("Range", f"bytes={offset}-") if offset else whole
            answer = self._transport.request(request)
            if answer.status not in (200, 206):
                raise self._transport.refusal(answer, what)
            start = _start(answer, offset)
            self._hold_length(answer, descriptor.size - start, what)
            skip = offset - start
            try:
                for block in answer.blocks():
                    fresh = block[skip:] if skip else block
                    skip = max(0, skip - len(block))
                    offset += len(fresh)
                    if fresh:
                        yield fresh
                if offset >= descriptor.size:
                    return
                lost = ConnectionLost(f"it broke off after {offset} of {descriptor.size} bytes")
            except ConnectionLost as broken:
                lost = ConnectionLost(f"it broke off after {offset} of {descriptor.size} bytes: {broken}")
            finally:
                answer.close()
            if offset - safe >= BLOCK:
                safe, failures = offset, 0
            failures += 1
            delay = self._transport.retries.delay(failures) if time.monotonic() < ends else None
            if delay is None:
                raise self._transport.unreachable(request, str(lost)) from lost
            self._transport.pause(delay, f"the download of {descriptor.digest.short} broke off")

    def fetch_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        store: BlobStore,
        *,
        moved: Callable[[int], None] = _count_nothing,
    ) -> None:
        """Put a blob into the store unless it is there; nothing is kept that has not the promised digest and size."""
        if store.has(descriptor.digest, descriptor.size):
            return

        def counted() -> Iterator[bytes]:
            for block in self.open_blob(repository, descriptor):
                moved(len(block))
                yield block

        try:
            store.write(counted(), expected=descriptor.digest, size=descriptor.size)
        except WrongContent as error:
            raise RegistryError(
                f"{descriptor.digest} was not fetched from {self.host}/{repository}",
                str(error),
                "Nothing was kept. Run the command again; if it stays, the registry or a proxy alters content.",
            ) from error

    def find_manifest(self, repository: str, reference: Digest | str, *, push: bool = False) -> Manifest | None:
        """Like ``fetch_manifest``, but None when the registry does not have it. ``push``: a push will follow."""
        answer = self._get_manifest(repository, reference, push=push)
        return None if answer.status == 404 else self._verified(answer, repository, reference)

    def known_manifests(self, repository: str, references: Sequence[Digest | str]) -> dict[str, Manifest]:
        """The manifests that ``lookup`` finds, by digest or tag; {} without one. Others may be there all the same."""
        return self._lookup(repository, references) if self._lookup is not None else {}

    def fetch_manifest(self, repository: str, reference: Digest | str) -> Manifest:
        """The manifest of a tag or a digest, verified. Raises RegistryRefused (404) when it is missing."""
        return self._verified(self._get_manifest(repository, reference, push=False), repository, reference)

    def _get_manifest(self, repository: str, reference: Digest | str, *, push: bool) -> Answer:
        url = f"/v2/{repository}/manifests/{reference}"
        scopes = _scopes(repository, push=push)
        return self._transport.request(Request("GET", url, scopes, _ACCEPT, limit=MANIFEST_MOST))

    def find_referrers(self, repository: str, digest: Digest) -> Manifest | None:
        """The index of what refers to a manifest, by the referrers API or else by the tag that stands in for it.

        Source: OCI distribution specification 1.1, "Listing Referrers". Its content is not addressed by a digest.
        """
        url = f"/v2/{repository}/referrers/{digest}"
        answer = self._transport.request(Request("GET", url, _scopes(repository), _ACCEPT, limit=MANIFEST_MOST))
        if answer.status == 200:
            return Manifest(answer.content, OCI_INDEX)
        return self.find_manifest(repository, f"sha256-{digest.hex}")

    def head_manifest(self, repository: str, reference: Digest | str, *, push: bool = False) -> Digest | None:
        """The digest behind a tag, or None when the registry has no such manifest."""
        url = f"/v2/{repository}/manifests/{reference}"
        answer = self._transport.request(Request("HEAD", url, _scopes(repository, push=push), _ACCEPT))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._transport.refusal(answer, f"{reference} was not looked up at {self.host}/{repository}")
        try:
            return Digest.parse(answer.headers.get("Docker-Content-Digest", ""))
        except ValueError:  # the header is optional
            found = self.find_manifest(repository, reference, push=push)
            return found.digest if found is not None else None

    def put_manifest(self, repository: str, manifest: Manifest, *, tag: str | None = None) -> bool:
        """Store a manifest by its digest, or under a tag. True when the registry noted the manifest's ``subject``.

        Raises RegistryRefused, also when the tag is immutable and taken.
        """
        what = f"the manifest {tag or manifest.digest} was not stored at {self.host}/{repository}"
        self._pace.wait()
        url = f"/v2/{repository}/manifests/{tag or manifest.digest}"
        headers = {"Content-Type": manifest.media_type}
        answer = self._transport.request(
            Request("PUT", url, _scopes(repository, push=True), headers, body=manifest.content)
        )
        if answer.status >= 300:
            raise self._transport.refusal(answer, what)
        named = answer.headers.get("Docker-Content-Digest")
        if named is not None and named != str(manifest.digest):
            raise RegistryError(
                what, f"the registry kept it as {named} instead of {manifest.digest}", "Tell the registry's operator."
            )
        return "OCI-Subject" in answer.headers

    def upload_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        open_stream: Callable[[], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        moved: Callable[[int], None] = _count_nothing,
    ) -> int:
        """Bring a blob into a repository unless it is there; gives the bytes that were sent, 0 for a mounted one.

        open_stream  opens the blob for seeking; called once for each attempt
        mount_from   repositories of this registry that have it
        moved        called with the bytes of each block that is sent, negative when they have to be sent again
        Raises RegistryError.
        """
        return Upload(
            self._transport,
            repository,
            descriptor,
            open_stream,
            moved=moved,
            chunk_size=self._chunk_size,
            mount_from=mount_from,
        ).run()

    def _verified(self, answer: Answer, repository: str, reference: Digest | str) -> Manifest:
        what = f"the manifest {reference} was not fetched from {self.host}/{repository}"
        if answer.status != 200:
            raise self._transport.refusal(answer, what)
        content = answer.content
        named = str(reference) if isinstance(reference, Digest) else answer.headers.get("Docker-Content-Digest")
        if named is not None and named != str(Digest.of(content)):
            raise RegistryError(
                what,
                f"the registry answered with content of the digest {Digest.of(content)} for {named}",
                "Nothing was kept. Run the command again; if it stays, the registry or a proxy alters content.",
            )
        try:
            document = parse_json(content)
        except ValueError:
            document = None
        declared = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if not isinstance(document, dict) or ("layers" in document and "manifests" in document):
            page = declared == "text/html"
            raise RegistryError(
                what,
                f"what the registry has there is no image manifest{' but a web page' if page else ''}",
                f"Check whether {self.host} is a registry." if page else "Check the reference.",
            )
        own = document.get("mediaType")
        if isinstance(own, str) and declared in MANIFEST_TYPES and own != declared:
            # Two readings of one manifest are how CVE-2021-41190 works.
            raise MediaTypeConflict(
                what,
                f"it calls itself {own}, and the registry calls it {declared}",
                "Push the image again, with one media type.",
            )
        return Manifest(content, own if isinstance(own, str) else declared)

    @staticmethod
    def _hold_length(answer: Answer, expected: int, what: str) -> None:
        length = whole_number(answer.headers.get("Content-Length"))
        if length is not None and length != expected:
            answer.close()
            raise RegistryError(
                what,
                f"the registry announces {length} bytes where the manifest promises {expected}",
                "Nothing was kept. If it stays, the registry or a proxy before it alters content.",
            )


def _scopes(repository: str, *, push: bool = False) -> frozenset[str]:
    return frozenset({repository_scope(repository, push=push)})


def _start(answer: Answer, offset: int) -> int:
    """Where a body begins: a registry may ignore the ``Range`` that it was asked for."""
    if answer.status != 206:
        return 0
    first = whole_number(answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0])
    return first if first is not None and first <= offset else offset


def connect(host: str, *, report: Report = ignore, retries: Retries | None = None) -> Registry:
    """The registry ``host`` with the login that Docker's configuration holds for it, if any. Nothing is sent yet."""
    endpoint = _DOCKER_HUB if host == "docker.io" else None
    return Registry(host, endpoint_url=endpoint, credentials=DockerLogin(host), retries=retries, report=report)
