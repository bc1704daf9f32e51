"""Requests held against botocore's service models, strictly: also what boto3 itself does not look at.

boto3 checks types, required members and minimal lengths before it sends anything. The models also say which members
exist, what values an enumeration has, how long a text may be and what it looks like, and AWS refuses what breaks that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape


@cache
def session() -> Any:
    return botocore.session.Session()


@cache
def input_shape(service: str, operation: str) -> StructureShape | None:
    """The shape of an operation's parameters; ``service`` as boto3 calls it."""
    shape: StructureShape | None = session().get_service_model(service).operation_model(operation).input_shape
    return shape


def request_findings(service: str, operation: str, parameters: Mapping[str, Any]) -> list[str]:
    """Everything in ``parameters`` that the model does not allow."""
    shape = input_shape(service, operation)
    if shape is None:
        return [f"{operation} takes no parameters"] if parameters else []
    return list(shape_findings(shape, parameters, operation))


def shape_findings(shape: Shape, value: Any, where: str) -> Iterator[str]:
    """Findings of one value, each with the path that leads to it. ``Expression`` values are taken as right."""
    if isinstance(value, Expression):
        return
    match shape:
        case StructureShape():
            if not isinstance(value, Mapping):
                yield f"{where}: {type(value).__name__} for a structure"
                return
            yield from (f"{where}: {name} is missing" for name in shape.required_members if name not in value)
            for name, each in value.items():
                if name not in shape.members:
                    yield f"{where}: there is no member {name}"
                else:
                    yield from shape_findings(shape.members[name], each, f"{where}.{name}")
        case ListShape():
            if not isinstance(value, (list, tuple)):
                yield f"{where}: {type(value).__name__} for a list"
                return
            yield from _size_findings(shape, len(value), where)
            for number, each in enumerate(value):
                yield from shape_findings(shape.member, each, f"{where}[{number}]")
        case MapShape():
            if not isinstance(value, Mapping):
                yield f"{where}: {type(value).__name__} for a map"
                return
            yield from _size_findings(shape, len(value), where)
            for name, each in value.items():
                yield from shape_findings(shape.key, name, f"{where} key")
                yield from shape_findings(shape.value, each, f"{where}[{name}]")
        case _:
            yield from _scalar_findings(shape, value, where)


class Expression(str):
    """A value that is only known at run time, such as a JSONata expression or ``${…}``."""


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "boolean": (bool,),
    "blob": (bytes, bytearray),
}


def _scalar_findings(shape: Shape, value: Any, where: str) -> Iterator[str]:
    types = _TYPES.get(shape.type_name)
    if types is None:  # timestamps, documents
        return
    if not isinstance(value, types) or (isinstance(value, bool) and shape.type_name != "boolean"):
        # botocore takes a text or an open file for a blob.
        if not (shape.type_name == "blob" and (isinstance(value, str) or hasattr(value, "read"))):
            yield f"{where}: {type(value).__name__} for a {shape.type_name}"
        return
    if shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of {', '.join(shape.enum)}"
        yield from _size_findings(shape, len(value), where)
        pattern = shape.metadata.get("pattern")
        if pattern and not _matches(pattern, value):
            yield f"{where}: {value!r} does not look like {pattern}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _size_findings(shape, value, where)


def _size_findings(shape: Shape, size: float, where: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < float(least):
        yield f"{where}: {size} is less than {least}"
    if most is not None and size > float(most):
        yield f"{where}: {size} is more than {most}"


def _matches(pattern: str, value: str) -> bool:
    """Models write Java's regular expressions; what Python does not understand of them is taken as met."""
    try:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    except re.error:
        return True
