"""Why two images of a function are not the same: the base, the config, packages and files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from pipeline.assembly.model import TASK_ROOT, Image
from pipeline.core.documents import parse_json
from pipeline.core.shown import first_few
from pipeline.oci.archive import Archive, Inflated
from pipeline.oci.blobs import BlobStore

# Written by ``assemble`` into the history of an image's config, before the layer's title.
_MADE_BY = "transaction-pipeline "
_DISTRIBUTION = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.dist-info/")
# The title for the layers of images that were not built here, which are compared together.
_WHOLE = "image"
_SETTINGS = ("Cmd", "Entrypoint", "Env", "WorkingDir", "User", "Labels")


@dataclass(frozen=True, slots=True)
class ComparedLayer:
    """A layer of one side. open: its compressed content; size: in bytes, as stored."""

    title: str
    diff_id: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Compared:
    """One side of a comparison."""

    config: Mapping[str, Any]
    layers: tuple[ComparedLayer, ...]

    def titled(self) -> dict[str, ComparedLayer]:
        """The layers that a function adds to its base."""
        return {layer.title: layer for layer in self.layers if layer.title != "base"}

    def base(self) -> list[str]:
        return [layer.diff_id for layer in self.layers if layer.title == "base"]


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A distribution whose version changed. before, after: "" for one that is not there."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before or not self.after:
            return f"{self.name} {'added' if self.after else 'removed'} ({self.after or self.before})"
        return f"{self.name} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer with other content. The paths are below the task root; those of changed packages are left out.

    unread  whether the layer was too large to be fetched for the comparison
    """

    layer: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two images. settings: of the config, as "Cmd: before → after"."""

    base: str
    settings: tuple[str, ...]
    packages: tuple[PackageChange, ...]
    layers: tuple[LayerChange, ...]

    def __bool__(self) -> bool:
        return bool(self.base or self.settings or self.packages or self.layers)

    def summary(self) -> str:
        """The difference in one line; "nothing" for none."""
        parts = [self.base] if self.base else []
        files = [path for layer in self.layers for path in (*layer.added, *layer.removed, *layer.changed)]
        if files:
            parts.append(f"{len(files)} file{'s' if len(files) > 1 else ''} ({first_few(files, 3)})")
        if self.packages:
            few = ", ".join(str(each) for each in self.packages[:3])
            parts.append(few + (f" and {len(self.packages) - 3} more" if len(self.packages) > 3 else ""))
        parts += [f"the {layer.layer} layer" for layer in self.layers if layer.unread]
        parts += [setting.partition(":")[0] for setting in self.settings]
        return "; ".join(parts) or "nothing"


def compared_image(image: Image, store: BlobStore) -> Compared:
    """An image whose layers are in ``store``, except those of its base."""
    config = parse_json(image.config)
    layers = tuple(
        ComparedLayer(
            # Not the layer's own title: both sides of a comparison read them from the config.
            title,
            str(layer.diff_id),
            layer.descriptor.size,
            partial(store.open, layer.descriptor.digest),
        )
        for title, layer in zip(titles(config, len(image.layers)), image.layers, strict=True)
    )
    return Compared(config, layers)


def titles(config: Mapping[str, Any], count: int) -> list[str]:
    """The titles of an image's ``count`` layers, from the history of its config; "base" where it has none of ours."""
    history = config.get("history")
    lines = [each for each in history if isinstance(each, dict)] if isinstance(history, list) else []
    made = [str(each.get("created_by", "")) for each in lines if not each.get("empty_layer")]
    found = [text.removeprefix(_MADE_BY) if text.startswith(_MADE_BY) else "base" for text in made]
    return found if len(found) == count else ["base"] * count


def compare(before: Compared, after: Compared, *, most: int | None = None) -> Difference:
    """What changed. Only layers that differ are read. most: bytes of a layer that is read; larger ones are not.

    Raises OSError, BadArchive and what opening a layer raises.
    """
    packages: list[PackageChange] = []
    layers: list[LayerChange] = []
    pairs = _pairs(before, after)
    for title, (olds, news) in pairs.items():
        if [each.diff_id for each in olds] == [each.diff_id for each in news]:
            continue
        if most is not None and any(each.size > most for each in (*olds, *news)):
            layers.append(LayerChange(title, unread=True))
            continue
        found = (_content(olds), _content(news))
        moved = tuple(_packages(*found))
        packages += moved
        change = _files(title, *found, [each.name for each in moved])
        if change.added or change.removed or change.changed or not moved:
            layers.append(change)
    return Difference(
        "" if _WHOLE in pairs else _base(before.base(), after.base()),
        tuple(_settings(before.config, after.config)),
        tuple(packages),
        tuple(layers),
    )


def _pairs(before: Compared, after: Compared) -> dict[str, tuple[Sequence[ComparedLayer], Sequence[ComparedLayer]]]:
    """The layers to compare, by title; of two images that were not built here, those above their common ones."""
    olds, news = before.titled(), after.titled()
    if not olds and not news:
        common = _common(before.base(), after.base())
        return {_WHOLE: (before.layers[common:], after.layers[common:])}
    return {
        title: ([olds[title]] if title in olds else [], [news[title]] if title in news else [])
        for title in dict.fromkeys([*olds, *news])
    }


def _content(layers: Iterable[ComparedLayer]) -> dict[str, str]:
    """Path → what is there: kind, mode, and the digest of the content or the target."""
    found: dict[str, str] = {}
    for layer in layers:
        found |= _content_of(layer)
    return found


def _content_of(layer: ComparedLayer) -> dict[str, str]:
    found = {}
    with layer.open() as stream:
        archive = Archive(Inflated(stream).read)
        for entry in archive:
            if entry.kind == "directory":
                continue
            hasher = hashlib.sha256(entry.target.encode())
            for chunk in archive.content():
                hasher.update(chunk)
            found[entry.path.removeprefix(f"{TASK_ROOT[1:]}/")] = f"{entry.kind} {entry.mode} {hasher.hexdigest()}"
    return found


def _packages(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[PackageChange]:
    olds, news = _versions(before), _versions(after)
    for name in sorted(olds.keys() | news.keys()):
        if olds.get(name) != news.get(name):
            yield PackageChange(name, olds.get(name, ""), news.get(name, ""))


def _versions(content: Iterable[str]) -> dict[str, str]:
    found = (_DISTRIBUTION.match(path) for path in content)
    return {match["name"].replace("_", "-").lower(): match["version"] for match in found if match is not None}


def _files(title: str, before: Mapping[str, str], after: Mapping[str, str], moved: Sequence[str]) -> LayerChange:
    """The files that changed without their package: those of packages with another version say nothing more."""
    tops = {name.replace("-", "_") for name in moved}

    def own(path: str) -> bool:
        top = path.partition("/")[0].lower()
        return not moved or not (top.partition(".")[0] in tops or ".dist-info" in top or title == "dependencies")

    return LayerChange(
        title,
        tuple(sorted(filter(own, after.keys() - before.keys()))),
        tuple(sorted(filter(own, before.keys() - after.keys()))),
        tuple(sorted(path for path in filter(own, before.keys() & after.keys()) if before[path] != after[path])),
    )


def _base(before: Sequence[str], after: Sequence[str]) -> str:
    if before == after:
        return ""
    return f"another base ({len(after) - _common(before, after)} of {len(after)} layers)"


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    """How many items both begin with."""
    kept = 0
    while kept < min(len(before), len(after)) and before[kept] == after[kept]:
        kept += 1
    return kept


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    olds, news = before.get("config") or {}, after.get("config") or {}
    for name in _SETTINGS:
        if olds.get(name) != news.get(name):
            yield f"{name}: {olds.get(name)} → {news.get(name)}"
    for name in ("architecture", "os"):
        if before.get(name) != after.get(name):
            yield f"{name}: {before.get(name)} → {after.get(name)}"
