"""Read an image that a container engine built into the store, with layers in our format.

Drops times, owners and the engine's own fields, so that the same files give the same digest. Lambda refuses hard links,
which installers of packages make, so each becomes a file.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from pipeline.assembly.image import canonical_json, document
from pipeline.assembly.layers import TASK_ROOT
from pipeline.assembly.model import Base, Image, Platform
from pipeline.core.records import code_version, read_record, write_record
from pipeline.engine.connection import SavedLayer, saved_image
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import CREATED, TarEntry, gzip_chunks, store_layer
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Digest,
    Layer,
)

# Members of an image config in the OCI specification; engines add others that describe the build.
_CONFIG = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")
# The label of Podman's builder.
_BUILDER_LABEL = "io.buildah.version"
_DOCKER = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP)
_OCI = (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP)
_BLOCK = 1 << 20
_SMALL = 1 << 20


def read_image(
    engine: Any, identifier: str, store: BlobStore, work: Path, platform: Platform, base: Base | None
) -> Image:
    """The image with all layers in the store; skips layers that were read before."""
    known = known_image(identifier, store, platform, base)
    if known is not None:
        return known
    record = _record_of_image(store, identifier)
    with saved_image(engine, identifier, work) as saved:
        layers = [_known_layer(layer.diff_id, store, base) or _read_layer(layer, store, work) for layer in saved.layers]
        write_record(record, {"config": dict(saved.config)})
        return _image(saved.config, _filled(layers, store, base), platform, base)


def known_image(identifier: str, store: BlobStore, platform: Platform, base: Base | None) -> Image | None:
    """An image that was read before; None if it was not, or if the store has lost one of its layers."""
    config = (read_record(_record_of_image(store, identifier)) or {}).get("config")
    if config is None:
        return None
    layers = [_known_layer(Digest.parse(text), store, base) for text in config["rootfs"]["diff_ids"]]
    found = [layer for layer in layers if layer is not None]
    return _image(config, _filled(found, store, base), platform, base) if len(found) == len(layers) else None


def _record_of_image(store: BlobStore, identifier: str) -> Path:
    return _record(store, f"image-{identifier.partition(':')[2]}")


def _filled(layers: Sequence[Layer], store: BlobStore, base: Base | None) -> list[Layer]:
    """The layers without those of empty copied folders, for which some builders create no layer."""
    folders = [TarEntry("var", "directory"), TarEntry(TASK_ROOT.strip("/"), "directory")]
    empty = {store_layer(store, entries, "docker").diff_id for entries in ([], folders)}
    kept = set(base.layers) if base is not None else set()
    return [layer for layer in layers if layer.diff_id not in empty or layer in kept]


def _record(store: BlobStore, name: str) -> Path:
    version = code_version(__name__, "pipeline.oci.tarball")
    return store.root / "docker" / f"{name}-{version}.json"


def _known_layer(diff_id: Digest, store: BlobStore, base: Base | None) -> Layer | None:
    """A layer of the base as in its registry, or one that was read before."""
    for layer in base.layers if base is not None else ():
        if layer.diff_id == diff_id:
            return layer
    known = read_record(_record(store, diff_id.hex)) or {}
    try:
        descriptor = Descriptor(OCI_LAYER_GZIP, Digest.parse(known["digest"]), int(known["size"]))
        layer = Layer(descriptor, Digest.parse(known["diff_id"]), "docker")
    except (KeyError, TypeError, ValueError):
        return None
    return layer if store.has(descriptor.digest) else None


def _read_layer(saved: SavedLayer, store: BlobStore, work: Path) -> Layer:
    """Add a layer to the store, compressed like ours."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        plain = Path(name) / "layer.tar"
        _write_plain(saved, plain)
        with plain.open("rb") as stream:
            entries = layer_entries(stream, Path(name))
        if entries is not None:
            layer = store_layer(store, entries, "docker")
        else:
            copied = Path(name) / "copied.tar"
            diff_id = copy_hard_links(plain, copied)
            with (copied if diff_id is not None else plain).open("rb") as stream:
                digest, size = store.put(gzip_chunks(iter(lambda: stream.read(_BLOCK), b"")))
            layer = Layer(Descriptor(OCI_LAYER_GZIP, digest, size), diff_id or saved.diff_id, "docker")
    about = {"digest": str(layer.descriptor.digest), "size": layer.descriptor.size, "diff_id": str(layer.diff_id)}
    write_record(_record(store, saved.diff_id.hex), about)
    return layer


def _write_plain(saved: SavedLayer, path: Path) -> None:
    """The layer's uncompressed tar. Raises ValueError if it does not match its config."""
    hasher = hashlib.sha256()
    with saved.open() as stream, path.open("wb") as file:
        start = stream.read(2)
        stream.seek(0)
        source = cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if start == b"\x1f\x8b" else stream
        while block := source.read(_BLOCK):
            hasher.update(block)
            file.write(block)
    if hasher.hexdigest() != saved.diff_id.hex:
        raise ValueError(f"its layer {saved.diff_id} has the content sha256:{hasher.hexdigest()}")


def copy_hard_links(plain: Path, copied: Path) -> Digest | None:
    """Write a layer's tar with a copy of the file in place of each hard link, which Lambda refuses.

    Returns the digest of the new tar; None for a layer without hard links, and for one that cannot be copied: with
    sparse files, or a link to no file of the layer. The check then names them.
    """
    with tarfile.open(plain, mode="r:") as source:
        members = source.getmembers()
        files = {_path_of(member.name): member for member in members if member.isfile()}
        links = [member for member in members if member.islnk()]
        if not links or any(_path_of(each.linkname) not in files for each in links):
            return None
        if any(member.issparse() for member in members):
            return None
        with tarfile.open(copied, mode="w:", format=tarfile.PAX_FORMAT) as target:
            for member in members:
                original = files[_path_of(member.linkname)] if member.islnk() else member
                entry = original.replace(name=member.name, deep=True)
                entry.pax_headers = {key: value for key, value in entry.pax_headers.items() if key != "path"}
                target.addfile(entry, source.extractfile(original) if original.isfile() else None)
    hasher = hashlib.sha256()
    with copied.open("rb") as stream:
        while block := stream.read(_BLOCK):
            hasher.update(block)
    return Digest(hasher.hexdigest())


def _path_of(name: str) -> str:
    return name.removeprefix("./").strip("/")


def layer_entries(stream: IO[bytes], work: Path, replace: tuple[str, str] | None = None) -> list[TarEntry] | None:
    """The entries of a layer in our format; None if it contains entries that our layers never have.

    replace  a leading path, and its replacement
    """
    entries: list[TarEntry] = []
    files: dict[str, TarEntry] = {}
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for number, member in enumerate(archive):
            path = _path_of(member.name)
            if replace is not None and (path + "/").startswith(replace[0] + "/"):
                path = (replace[1] + path[len(replace[0]) :]).strip("/")
            if not path or path == ".":
                continue
            if member.islnk() and replace is None:
                original = files.get(_path_of(member.linkname))
                if original is None:
                    return None
                entries.append(dataclasses.replace(original, path=path))
                continue
            if not _is_plain(member):
                return None
            if member.isdir():
                entries.append(TarEntry(path, "directory"))
            elif member.issym():
                entries.append(TarEntry(path, "symlink", target=member.linkname))
            else:
                content = cast(IO[bytes], archive.extractfile(member))
                kept: bytes | Path
                if member.size > _SMALL:
                    kept = work / f"{len(list(work.iterdir()))}-{number}"
                    with kept.open("wb") as file:
                        shutil.copyfileobj(content, file, _BLOCK)
                else:
                    kept = content.read()
                files[path] = TarEntry(path, "file", kept, member.size, bool(member.mode & 0o100))
                entries.append(files[path])
    paths = [entry.path for entry in entries]
    return entries if len(paths) == len(set(paths)) else None


def _is_plain(member: tarfile.TarInfo) -> bool:
    if (member.uid, member.gid) != (0, 0) or any(name.startswith("SCHILY.") for name in member.pax_headers):
        return False
    mode = member.mode & 0o7777
    return (
        (member.isdir() and mode == 0o755)
        or (member.isfile() and not member.islnk() and not member.issparse() and mode in (0o644, 0o755))
        or member.issym()
    )


def _image(config: Mapping[str, Any], layers: Sequence[Layer], platform: Platform, base: Base | None) -> Image:
    """The image with the engine's run configuration, without the time and place of the build."""
    run = {name: value for name, value in (config.get("config") or {}).items() if name in _CONFIG and value}
    if _BUILDER_LABEL in run.get("Labels", {}):
        run["Labels"] = {name: value for name, value in run["Labels"].items() if name != _BUILDER_LABEL}
    # Builders write different histories; some readers need one line per layer.
    history = [{"created": CREATED, "created_by": "Dockerfile"} for _ in layers]
    content = canonical_json(
        {
            "architecture": config["architecture"],
            "os": config["os"],
            **({"variant": config["variant"]} if config.get("variant") else {}),
            "config": run,
            "created": CREATED,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": history,
        }
    )
    media_type, config_type, layer_type = _DOCKER if base is not None and base.docker else _OCI
    kept = set(base.layers) if base is not None else set()
    typed = tuple(
        layer
        if layer in kept
        else Layer(Descriptor(layer_type, layer.descriptor.digest, layer.descriptor.size), layer.diff_id, layer.title)
        for layer in layers
    )
    descriptor = Descriptor(config_type, Digest.of(content), len(content))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": document(descriptor),
        "layers": [document(layer.descriptor) for layer in typed],
    }
    return Image(canonical_json(manifest), media_type, content, descriptor, typed, platform)
