"""Build a function's image with a Dockerfile that names its own base: packages of a distribution, another language.

What is sent to the engine decides whether it is asked at all: an image is remembered by the digest of its context, so
an unchanged function needs no engine. Such a build has a network, and is not the same on every machine.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from dataclasses import replace
from typing import IO, Any

from pipeline.assembly.ignore import read_context_rules
from pipeline.assembly.model import FunctionSource, Image, Platform
from pipeline.assembly.own.collected import collect_files
from pipeline.core.events import Report, ignore, step
from pipeline.core.files import storing
from pipeline.core.records import read_record, write_record
from pipeline.engine.build_context import DOCKERFILE, read_dockerfile
from pipeline.engine.build_output import BuildFailed
from pipeline.engine.connection import connect_engine, engine_address
from pipeline.engine.export import known_image, read_image
from pipeline.engine.run_build import BuildRequest, run_build
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, tar_chunks
from pipeline.oci.work import work_folder

_OTHERWISE = "Without an engine, build the image elsewhere and name it with `image` in function.toml."


def build_own(
    source: FunctionSource, platform: Platform, store: BlobStore, *, engine: Any = None, buildx: bool | None = None,
    report: Report = ignore,
) -> Image:  # fmt: skip
    """The image that the function's Dockerfile makes of its folder, with all layers in ``store``.

    engine, buildx  see ``DockerBuilder``
    Raises SourceError, BaseImageError, BuildFailed, StorageError, and LocalError without an engine that is needed.
    """
    with work_folder(store) as work, tempfile.TemporaryFile(dir=work) as context:
        with storing(work):
            content = _write_context(source, context)
        key = hashlib.sha256(repr((content, str(platform.architecture), source.name)).encode()).hexdigest()
        record = store.root / "docker" / f"context-{key}.json"
        identifier = str((read_record(record) or {}).get("image", ""))
        if identifier and (known := known_image(identifier, store, platform, None)) is not None:
            return known
        engine = engine or connect_engine(f"{source.name} was not built", _OTHERWISE)
        with step(report, "docker build", source.name):
            context.seek(0)
            identifier = run_build(engine, BuildRequest(source, platform, None, _OTHERWISE), context, buildx)
        try:
            image = read_image(engine, identifier, store, work, platform, None)
        except (ValueError, tarfile.TarError) as error:
            raise BuildFailed(
                f"{source.name} was built, and could not be read", str(error), f"Its engine is {engine_address()}."
            ) from error
    write_record(record, {"image": identifier})
    return image


def _write_context(source: FunctionSource, file: IO[bytes]) -> str:
    """Write the folder as a tar; returns its digest. Raises SourceError."""
    dockerfile = read_dockerfile(source, "Mend it, or write a handler or an image into function.toml.")
    entries = [TarEntry(DOCKERFILE, "file", dockerfile, len(dockerfile))]
    for entry in collect_files(source.folder, ".", rules=read_context_rules(source.folder)):
        if entry.path != f"./{DOCKERFILE}":
            entries.append(replace(entry, path=entry.path.removeprefix("./")))
    hasher = hashlib.sha256()
    for chunk in tar_chunks(entries):
        hasher.update(chunk)
        file.write(chunk)
    return hasher.hexdigest()
