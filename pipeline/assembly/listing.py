"""Every file that ships with a function, and every one that does not, with the rule."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.assembly.dependencies.dependency_layers import installed_of
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.ignore import IgnoreRules, read_rules
from pipeline.assembly.layers import TASK_ROOT, lay_out
from pipeline.assembly.model import CheckedImage, FunctionSource, Platform
from pipeline.core.events import Report, ignore
from pipeline.oci.archive import Archive, Inflated
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Layer


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file of an image. path: below the task root, else absolute; layer: its layer's title; size: in bytes."""

    path: str
    layer: str
    size: int


@dataclass(frozen=True, slots=True)
class Unshipped:
    """A file, or a whole "folder/", that is not in the image.

    origin  "function", "dependencies", "runtime", or the name of a shared package
    path    relative to where it comes from: the function's folder, the package's, or the installation
    """

    path: str
    origin: str
    rule: str


@dataclass(frozen=True, slots=True)
class FileList:
    """Both lists of a function, each in the order of its layers and paths."""

    function: str
    shipped: tuple[Shipped, ...]
    left_out: tuple[Unshipped, ...]


def list_files(
    source: FunctionSource,
    platform: Platform,
    store: BlobStore,
    *,
    slim: Slim,
    runtime: bool = False,
    report: Report = ignore,
) -> FileList:
    """The files of a function's own layers. Takes and raises what ``lay_out`` does."""
    layers = lay_out(source, platform, store, slim=slim, runtime=runtime, report=report)
    shipped = [each for layer in layers for each in _shipped(layer, store)]
    left_out = []
    for installed in installed_of(source, platform, store, slim, runtime=runtime, report=report):
        left_out += [Unshipped(path, installed.layer.title, rule) for path, rule in sorted(installed.left_out.items())]
    for folder in source.shared:
        left_out += _left_out_of(folder, folder.name)
    left_out += _left_out_of(source.code_folder, "function")
    return FileList(source.name, tuple(shipped), tuple(left_out))


def list_whole(checked: CheckedImage, store: BlobStore) -> FileList:
    """The files of a checked image that was not made from layers of ours; its author decided what is left out."""
    shipped = tuple(each for layer in checked.image.layers for each in _shipped(layer, store))
    return FileList(checked.function, shipped, ())


def _shipped(layer: Layer, store: BlobStore) -> Iterator[Shipped]:
    with store.open(layer.descriptor.digest) as stream:
        for entry in Archive(Inflated(stream).read):
            if entry.kind != "directory":
                below = entry.path.startswith(f"{TASK_ROOT}/")
                path = entry.path.removeprefix(f"{TASK_ROOT}/") if below else f"/{entry.path}"
                yield Shipped(path, layer.title, entry.size)


def _left_out_of(folder: Path, origin: str) -> Iterator[Unshipped]:
    rules = read_rules(folder)
    for path in _walk(folder, rules, ""):
        yield Unshipped(path, origin, str(rules.reason(path.rstrip("/"))))


def _walk(folder: Path, rules: IgnoreRules, below: str) -> Iterator[str]:
    """The paths that are left out; a folder of which nothing ships as one."""
    with os.scandir(folder / below) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}{entry.name}"
        ignored = rules.ignores(path)
        if entry.is_dir(follow_symlinks=False):
            if ignored and not rules.takes_back:
                yield f"{path}/"
            else:
                yield from _walk(folder, rules, f"{path}/")
        elif ignored:
            yield path
