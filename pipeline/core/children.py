"""Child processes that end with the command."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO

from pipeline.core import interruption

_STEP = 0.1
# Seconds between SIGTERM and SIGKILL, so that a program can end its own children: `docker` runs its plugins as such.
_GRACE = 2.0


def run_child(
    command: Sequence[str],
    *,
    content: bytes | IO[bytes] = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with ``content`` as its input, and return its status and output.

    content  bytes, or a file with a descriptor, which is read from where it is
    seconds  the time limit; None for none

    Terminates it on interruption and at the limit, and kills it if that does not end it. Raises KeyboardInterrupt,
    TimeoutExpired, and OSError if it cannot be started.
    """
    ends = time.monotonic() + seconds if seconds is not None else float("inf")
    # From a file: called again after a timeout, Popen.communicate forgets what it has not written yet.
    with ExitStack() as stack:
        if isinstance(content, bytes):
            source: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            source.write(content)
            source.seek(0)
        else:
            source = content
        with subprocess.Popen(
            command, env=environment, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            try:
                while True:
                    interruption.check()
                    try:
                        out, errors = child.communicate(timeout=min(_STEP, max(0.0, ends - time.monotonic())))
                    except subprocess.TimeoutExpired:
                        if time.monotonic() >= ends:
                            raise subprocess.TimeoutExpired(command, seconds or 0.0) from None
                    else:
                        return subprocess.CompletedProcess(command, child.returncode, out, errors)
            except BaseException:
                _end(child)
                raise


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.terminate()
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        child.kill()  # without effect on one that has ended
