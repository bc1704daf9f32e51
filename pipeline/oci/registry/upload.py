"""Upload one blob to a repository: by mounting, whole, or in resumable chunks.

Amazon ECR differs from the distribution specification, and the code works for other registries too: it responds to
PATCH with 201; its ``Range`` stops advancing after the first chunk although every chunk is kept; it has no upload
status (aws/containers-roadmap #2831, dotnet/sdk #33019). The digest that the registry computes at the end decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from pipeline.core.errors import RegistryError
from pipeline.oci.blobs import WrongContent
from pipeline.oci.registry.auth import repository_scope
from pipeline.oci.registry.connections import BLOCK
from pipeline.oci.registry.refusals import BUSY, DamagedCopy
from pipeline.oci.registry.retries import retry_after, whole_number
from pipeline.oci.registry.transport import Answer, Body, ConnectionLost, Request, Transport, join_url
from pipeline.oci.values import Descriptor, Digest

# ECR accepts parts of 5 to 10 MiB (`partSize` of InitiateLayerUpload); other registries accept any.
CHUNK = 10 * 1024 * 1024
# A larger minimum would make chunks too large to resume.
_CHUNK_MOST = 1024 * 1024 * 1024
_RANGE = re.compile(r"(?:bytes[= ])?0-(\d{1,18})")


@dataclass(slots=True)
class _Session:
    """An open upload: the location of its next bytes, and the number that the registry has."""

    location: str
    offset: int = 0


class _Setback(Exception):
    """A failed attempt that may be repeated.

    resumable  the session may still exist, with some of the bytes
    blindly    continue at our offset if the registry has no status
    """

    def __init__(
        self, error: RegistryError, *, resumable: bool, blindly: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.resumable = resumable
        self.blindly = blindly
        self.wait = wait


class Upload:
    """The upload of one blob to one repository; ``run`` returns the number of sent bytes."""

    def __init__(
        self,
        transport: Transport,
        repository: str,
        descriptor: Descriptor,
        open_stream: Callable[[], BinaryIO],
        *,
        moved: Callable[[int], None],
        chunk_size: int = CHUNK,
        mount_from: Sequence[str] = (),
    ) -> None:
        self._transport = transport
        self._repository = repository
        self._descriptor = descriptor
        self._open = open_stream
        self._moved = moved
        self._chunk = chunk_size
        self._whole = descriptor.size <= chunk_size
        self._mounts = mount_from
        self._scopes = frozenset({repository_scope(repository, push=True)})
        self._what = f"{descriptor.digest} was not uploaded to {transport.host}/{repository}"
        self._uploads = f"/v2/{repository}/blobs/uploads/"

    def run(self) -> int:
        """Upload the blob and return the number of sent bytes: 0 if it existed or was mounted.

        Raises RegistryError.
        """
        if self._is_there():
            return 0
        session = self._mount()
        if session is True:
            return 0
        current = session if isinstance(session, _Session) else None
        setbacks, best = 0, 0
        while True:
            try:
                current = current or self._start()
                self._send(current)
            except _Setback as setback:
                if current is not None and current.offset > best:
                    setbacks, best = 0, current.offset
                setbacks += 1
                delay = self._transport.retries.delay(setbacks, setback.wait)
                if delay is None:
                    raise setback.error from setback
                self._moved(0)  # the caller may raise to end it
                self._transport.pause(delay, f"the upload of {self._descriptor.digest.short} was interrupted")
                if self._is_there():
                    break  # only the response was lost
                if current is not None and not (setback.resumable and self._resume(current, setback.blindly)):
                    self._moved(-current.offset)
                    current = None
            else:
                break
        return self._descriptor.size

    def _is_there(self) -> bool:
        url = f"/v2/{self._repository}/blobs/{self._descriptor.digest}"
        answer = self._transport.request(Request("HEAD", url, self._scopes))
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._transport.refusal(answer, self._what)
        return True

    def _mount(self) -> _Session | bool:
        """True if a mount succeeded, a session if it was refused with one (202), else False."""
        for source in self._mounts:
            query = urlencode({"mount": str(self._descriptor.digest), "from": source})
            scopes = self._scopes | {repository_scope(source, push=False)}
            answer = self._transport.request(Request("POST", f"{self._uploads}?{query}", scopes))
            if answer.status == 201:
                return True
            if answer.status == 202:
                return self._session(answer)
        return False

    def _start(self) -> _Session:
        answer = self._transport.request(Request("POST", self._uploads, self._scopes))
        if answer.status != 202:
            raise self._transport.refusal(answer, self._what)
        return self._session(answer)

    def _session(self, answer: Answer) -> _Session:
        least = whole_number(answer.headers.get("OCI-Chunk-Min-Length")) or 0
        if least > self._chunk:
            self._chunk = min(least, _CHUNK_MOST)
            self._whole = self._whole or self._descriptor.size <= self._chunk
        return _Session(self._location(answer, None))

    def _location(self, answer: Answer, before: str | None) -> str:
        location = answer.headers.get("Location") or before
        if location is None:
            raise RegistryError(
                self._what, "the registry opened an upload without a location", "Tell the registry's operator."
            )
        target = join_url(answer.url, location)
        if target is None:
            raise RegistryError(
                self._what,
                "the registry opened an upload at an address that is not a URL",
                "Tell the registry's operator.",
            )
        if urlsplit(answer.url).scheme == "https" and urlsplit(target).scheme != "https":
            raise RegistryError(
                self._what,
                f"the registry asks for the content unencrypted, at {urlsplit(target).hostname}",
                "Tell the registry's operator: its proxy hides from it that it is served over https.",
            )
        return target

    def _send(self, session: _Session) -> None:
        if self._whole:
            body = Body(self._open, self._descriptor.size, moved=self._moved)
            self._finish(session, body)
            return
        while session.offset < self._descriptor.size:
            self._send_chunk(session)
        self._finish(session, None)

    def _send_chunk(self, session: _Session) -> None:
        length = min(self._chunk, self._descriptor.size - session.offset)
        end = session.offset + length
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{session.offset}-{end - 1}"}
        body = Body(self._open, length, session.offset, self._moved)
        answer = self._attempt("PATCH", session.location, headers, body)
        if answer.status in (404, 416):
            # 416: we disagree on the offset. 404: the session is gone.
            raise _Setback(self._transport.refusal(answer, self._what), resumable=answer.status == 416)
        if answer.status >= 300:
            refusal = self._transport.refusal(answer, self._what)
            if answer.status in (401, 403, 413):
                raise refusal
            # Some registries know no chunks at all.
            self._whole = True
            raise _Setback(refusal, resumable=False)
        session.location = self._location(answer, session.location)
        acknowledged = _acknowledged(answer)
        if acknowledged is not None and acknowledged > end:
            raise _Setback(
                RegistryError(
                    self._what,
                    f"the registry says that it has {acknowledged} bytes, but only {end} were sent",
                    "Tell the registry's operator.",
                ),
                resumable=False,
            )
        if acknowledged is not None and session.offset < acknowledged < end:
            # It accepted a part: continue after it.
            self._moved(acknowledged - end)
            session.offset = acknowledged
        else:
            session.offset = end

    def _finish(self, session: _Session, body: Body | None) -> None:
        query = urlencode({"digest": str(self._descriptor.digest)})
        url = f"{session.location}{'&' if urlsplit(session.location).query else '?'}{query}"
        answer = self._attempt("PUT", url, {"Content-Type": "application/octet-stream"}, body)
        if answer.status in (404, 416):
            raise _Setback(self._transport.refusal(answer, self._what), resumable=False)
        if answer.status >= 300:
            refusal = self._transport.refusal(answer, self._what)
            if answer.status == 400 and not self._whole:
                # It put the chunks together in another way than they were sent.
                self._whole = True
                raise _Setback(refusal, resumable=False)
            self._verify_source()
            raise refusal
        named = answer.headers.get("Docker-Content-Digest")
        if named is not None and named != str(self._descriptor.digest):
            raise RegistryError(
                self._what,
                f"the registry kept it as {named}",
                "Tell the registry's operator, and use another registry.",
            )

    def _attempt(self, method: str, url: str, headers: dict[str, str], body: Body | None) -> Answer:
        """A request that must not be repeated blindly: bytes may have arrived without a response."""
        request = Request(method, url, self._scopes, headers, body, repeat=False)
        try:
            answer = self._transport.request(request)
        except ConnectionLost as lost:
            error = self._transport.unreachable(request, str(lost))
            raise _Setback(error, resumable=not self._whole, blindly=True) from lost
        except WrongContent:
            self._verify_source()
            raise
        if answer.status in BUSY:
            raise _Setback(
                self._transport.refusal(answer, self._what),
                resumable=not self._whole,
                blindly=True,
                wait=retry_after(answer.headers),
            )
        return answer

    def _resume(self, session: _Session, blindly: bool) -> bool:
        """Read the upload's status; True if ``session`` can continue from it."""
        answer = self._transport.request(Request("GET", session.location, self._scopes))
        if answer.status >= 300:
            # Not every registry has a status (ECR: 404). The next chunk shows whether it is gone, by 404 or 416.
            return blindly and answer.status in (404, 405, 501) and session.offset > 0
        acknowledged = _acknowledged(answer)
        most = min(session.offset + self._chunk, self._descriptor.size)
        # "0-0" is one byte, or none: registries write both like that. A new session costs nothing then.
        if acknowledged is None or acknowledged < 2 or not session.offset <= acknowledged <= most:
            return False
        self._moved(acknowledged - session.offset)
        session.offset = acknowledged
        session.location = self._location(answer, session.location)
        return True

    def _verify_source(self) -> None:
        """Raise DamagedCopy if the local copy is wrong, instead of an error of the registry."""
        hasher, count = hashlib.sha256(), 0
        with self._open() as stream:
            while block := stream.read(BLOCK):
                hasher.update(block)
                count += len(block)
            name = getattr(stream, "name", None)
        if count != self._descriptor.size or Digest(hasher.hexdigest()) != self._descriptor.digest:
            raise DamagedCopy(
                self._what,
                f"the copy on this machine is damaged: its {count} bytes have the digest sha256:{hasher.hexdigest()}",
                f"Delete {name} and run the command again."
                if isinstance(name, str)
                else "Empty the cache and run again.",
            )


def _acknowledged(answer: Answer) -> int | None:
    """The number of bytes that a registry reports to have, or None."""
    match = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
    return int(match[1]) + 1 if match else None
