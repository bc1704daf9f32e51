"""Functions as processes of this machine, from pushed images."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.local.images.image_pull import local_registries
from pipeline.local.images.image_store import ImageStore
from pipeline.local.invocation import FunctionConfig
from pipeline.local.runtime.command import worker_command
from pipeline.local.runtime.host_process import HostProgram
from pipeline.local.runtime.sandbox import find_isolation
from pipeline.oci.values import Digest


class ProcessBackend:
    """A ``Backend`` below ``folder``. ``endpoint``: of the embedded AWS; ``token``: the host's registry login."""

    def __init__(self, folder: Path, endpoint: str, token: str) -> None:
        self._work_folder = folder / "work"
        self._work_folder.mkdir(parents=True, exist_ok=True)
        self._images = ImageStore(folder, local_registries(endpoint, token))
        self._endpoint = endpoint
        self.isolation = find_isolation()

    def prepare(self, function: FunctionConfig) -> HostProgram:
        image, sandbox = self._images.ensure(function.image), self.isolation.sandbox
        command = worker_command(function, image, self._endpoint, mapped=sandbox is None)
        return HostProgram(command, self._work_folder, urlsplit(self._endpoint).port or 80, sandbox)

    def prune(self, used: set[Digest]) -> None:
        self._images.prune(used)

    async def close(self) -> None:
        """Keeps the folder: if the local folder was removed and created again, it belongs to another host."""
