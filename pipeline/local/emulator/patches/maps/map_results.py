"""What a ResultWriter writes: the results of a Map Run by status, and a manifest that names the files. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

STATUSES = ("FAILED", "PENDING", "SUCCEEDED")


class Finished(Protocol):
    """A child execution. ``status`` is as in DescribeExecution, or PENDING for one that has not started."""

    @property
    def status(self) -> str: ...
    @property
    def output(self) -> Any: ...
    def to_json(self) -> dict[str, Any]: ...


def transformed(children: Iterable[Finished], transformation: str) -> list[Any]:
    """The results as WriterConfig.Transformation gives them. What has not succeeded keeps its metadata in any case."""
    found: list[Any] = []
    for child in children:
        if transformation == "NONE" or child.status != "SUCCEEDED":
            found.append(child.to_json())
        elif transformation == "FLATTEN" and isinstance(child.output, list):
            found.extend(child.output)
        else:
            found.append(child.output)
    return found


def result_files(
    children: Sequence[Finished], *, bucket: str, folder: str, map_run_arn: str, config: Mapping[str, Any]
) -> dict[str, bytes]:
    """The objects by key, the manifest last: ``<folder>/manifest.json``.

    folder  the prefix and the id of the Map Run
    config  an evaluated WriterConfig
    """
    lines = config.get("OutputType") == "JSONL"
    files: dict[str, bytes] = {}
    named: dict[str, list[dict[str, Any]]] = {}
    for status in STATUSES:
        chosen = [child for child in children if _file_of(child.status) == status]
        named[status] = []
        if chosen:
            key = f"{folder}/{status}_0.{'jsonl' if lines else 'json'}"
            files[key] = _text(transformed(chosen, config.get("Transformation", "NONE")), lines=lines).encode(
                "utf-8", "replace"
            )
            named[status].append({"Key": key, "Size": len(files[key])})
    manifest = {"DestinationBucket": bucket, "MapRunArn": map_run_arn, "ResultFiles": named}
    return {**files, f"{folder}/manifest.json": json.dumps(manifest).encode()}


def _file_of(status: str) -> str:
    return status if status in ("PENDING", "SUCCEEDED") else "FAILED"


def _text(records: Sequence[Any], *, lines: bool) -> str:
    if lines:
        return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
    return json.dumps(list(records), ensure_ascii=False)
