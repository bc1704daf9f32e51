"""Functions as processes of this machine, out of the images that were pushed."""

from __future__ import annotations

from pathlib import Path

from pipeline.local.invocation import FunctionConfig
from pipeline.local.runtime.command import worker_command
from pipeline.local.runtime.host_process import HostProgram
from pipeline.local.runtime.image_pull import local_registry
from pipeline.local.runtime.image_store import ImageStore
from pipeline.oci.values import Digest


class ProcessBackend:
    """A ``Backend`` below ``folder``; ``endpoint`` is the embedded AWS, with the registry that images come from."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._work_folder = folder / "work"
        self._work_folder.mkdir(parents=True, exist_ok=True)
        self._images = ImageStore(folder, local_registry(endpoint))
        self._endpoint = endpoint

    def prepare(self, function: FunctionConfig) -> HostProgram:
        command = worker_command(function, self._images.ensure(function.image), self._endpoint)
        return HostProgram(command, self._work_folder)

    def prune(self, used: set[Digest]) -> None:
        self._images.prune(used)

    async def close(self) -> None:
        """The folder stays: if the local folder was removed and made again, it belongs to another host."""
