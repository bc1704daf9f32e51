"""Child processes that end with the command."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

from pipeline.core import interruption

_STEP = 0.1


def run_child(
    command: Sequence[str],
    *,
    content: bytes = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with ``content`` as its input, and return its status and output.

    Kills it on interruption and after ``seconds``. Raises KeyboardInterrupt, TimeoutExpired, and OSError if it cannot
    be started.
    """
    ends = time.monotonic() + seconds if seconds is not None else float("inf")
    # From a file: called again after a timeout, Popen.communicate forgets what it has not written yet.
    with tempfile.TemporaryFile() as source:
        source.write(content)
        source.seek(0)
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
                child.kill()
                raise
