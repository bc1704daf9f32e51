"""The build context of a function's Dockerfile, from the layers of the daemonless builder."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layers import LARGE, TASK_ROOT, lay_out
from pipeline.assembly.model import FunctionSource, Platform
from pipeline.core.errors import SourceError
from pipeline.core.files import read_regular, storing
from pipeline.engine.export import layer_entries
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, tar_chunks
from pipeline.oci.values import Layer

DOCKERFILE = "Dockerfile"
_DOCKERFILE_MAX = 1_000_000  # bytes
# The folders that a Dockerfile copies, each the content of one or more of our layers, without /var/task.
CONTEXT_FOLDERS = ("dependencies", "shared", "function")


def read_dockerfile(source: FunctionSource, otherwise: str) -> bytes:
    """The function's Dockerfile. Raises SourceError, also for a link that leads out of the function's folder."""
    path = source.folder / DOCKERFILE
    try:
        if not path.resolve().is_relative_to(source.folder.resolve()):
            raise OSError(errno.EXDEV, "it is a link that leads out of the folder")
        return read_regular(path, _DOCKERFILE_MAX)
    except OSError as error:
        raise SourceError(
            f"{source.name} was not built", f"{path} cannot be read: {error.strerror}", otherwise
        ) from error


def write_context(source: FunctionSource, layers: Sequence[Layer], store: BlobStore, file: IO[bytes]) -> None:
    """Write the build context as a tar: the Dockerfile, and the folders that it copies. Raises SourceError."""
    entries: list[TarEntry] = [TarEntry(folder, "directory") for folder in CONTEXT_FOLDERS]
    content = read_dockerfile(source, "Copy the Dockerfile of another function, or omit --builder docker.")
    entries.append(TarEntry(DOCKERFILE, "file", content, len(content)))
    with tempfile.TemporaryDirectory() as name:
        for layer in layers:
            folder = "function" if layer.title == LARGE else layer.title
            with store.open(layer.descriptor.digest) as stream:
                found = layer_entries(stream, Path(name), replace=(TASK_ROOT, folder))
            if found is None:
                raise AssertionError(f"the {layer.title} layer is not made of plain files")
            entries += [entry for entry in found if entry.path.startswith(folder)]
        for chunk in tar_chunks(entries):
            file.write(chunk)


def lay_out_context(source: FunctionSource, platform: Platform, store: BlobStore, folder: Path, slim: Slim) -> None:
    """Write the build context as a folder, for tools that run builds, such as docker compose."""
    layers = lay_out(source, platform, store, slim=slim)
    making = folder.with_name(f".{folder.name}-{os.getpid()}")
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile() as file:
                write_context(source, layers, store, file)
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    archive.extractall(making, filter="data")  # written just above
            shutil.rmtree(folder, ignore_errors=True)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
