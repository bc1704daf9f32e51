"""TOML tables written by people: all errors are found at once, each with its location."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from pipeline.core.documents import parse_toml
from pipeline.core.files import read_regular

_FILE_MAX = 1 << 20  # bytes; the longest of these files has some ten thousand
_T = TypeVar("_T", bound=msgspec.Struct)


class WrongTable(ValueError):
    """A table without its kind's keys and values; ``findings`` name each by its path, as ``calls[0].service``."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = findings


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises OSError for one that cannot be read, ValueError for one that is not TOML."""
    return parse_toml(read_regular(path, _FILE_MAX))


def convert(table: Mapping[str, Any], kind: type[_T]) -> _T:
    """The table as ``kind``. Raises WrongTable with every finding; msgspec itself stops at the first."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as first:
        raise WrongTable([*_findings(table, kind, "")] or [str(first)]) from first


def _findings(value: Any, kind: Any, path: str) -> Iterator[str]:
    kind = _without_none(kind)
    if isinstance(value, dict) and (tagged := _tagged(kind)):
        yield from _of_tagged(value, tagged, path)
    elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _of_table(value, kind, path)
    elif isinstance(value, dict) and get_origin(kind) is dict:
        for key, each in value.items():
            yield from _findings(each, get_args(kind)[1], _joined(path, key))
    elif isinstance(value, list) and (get_origin(kind) is list or _is_sequence(kind)):
        for number, each in enumerate(value):
            yield from _findings(each, get_args(kind)[0], f"{path}[{number}]")
    elif isinstance(value, str) and isinstance(kind, type) and issubclass(kind, Enum):
        known = [str(each.value) for each in kind]
        if value not in known:
            yield f"{path}: {value[:80]!a} is unknown; {_hint(value, known)}"
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as problem:
            # Without msgspec's path, which is relative to this value.
            yield f"{path}: {str(problem).partition(' - at ')[0]}"


def _of_table(table: dict[str, Any], kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key in fields:
            yield from _findings(value, fields[key].type, _joined(path, key))
        else:
            yield f"{_joined(path, key)}: no such key; {_hint(key, fields)}"
    for name, field in fields.items():
        if field.required and name not in table:
            yield f"{_joined(path, name)}: missing"


def _tagged(kind: Any) -> dict[str, type[msgspec.Struct]]:
    """The structs of a union by their tag; {} for every other kind."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    if not kinds or not all(isinstance(each, type) and issubclass(each, msgspec.Struct) for each in kinds):
        return {}
    return {str(each.__struct_config__.tag): each for each in kinds}


def _of_tagged(table: dict[str, Any], kinds: dict[str, type[msgspec.Struct]], path: str) -> Iterator[str]:
    field = next(iter(kinds.values())).__struct_config__.tag_field or "type"
    tag = table.get(field)
    if isinstance(tag, str) and tag in kinds:
        yield from _of_table({key: value for key, value in table.items() if key != field}, kinds[tag], path)
        return
    problem = "missing" if tag is None else f"{tag!r} is unknown"
    yield f"{_joined(path, field)}: {problem}; {_hint('' if tag is None else str(tag), kinds)}"


def _hint(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to an unknown one, or all of them if none is near."""
    close = difflib.get_close_matches(name, known := list(known), 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _is_sequence(kind: Any) -> bool:
    """Whether it is a tuple of any length, all of one type."""
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind
