"""Reads a project's own workflow: ``workflow.asl.yaml`` or ``.json``, ``workflow.toml`` and ``events/smoke.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cfn.settings import EXPRESS, STANDARD, TRANSACTIONS, Call, OwnWorkflow
from cfn.workflow.own_permissions import MANIFEST
from pipeline.core.documents import parse_toml, parse_unambiguous_json
from pipeline.core.errors import SettingsError, VerificationError
from pipeline.core.files import read_optional, read_regular
from pipeline.core.tables import WrongTable, convert

DEFINITIONS = ("workflow.asl.yaml", "workflow.asl.json")
SMOKE = Path("events", "smoke.json")
# Step Functions quotas: a definition has at most 1 MB, the input of an execution 256 KiB.
_DEFINITION_MAX = 1024 * 1024
_INPUT_MAX = 262_144
_MANIFEST_MAX = 1 << 20


class _Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Actions that states call. service is the name that boto3.client takes."""

    service: str
    actions: list[str]
    resource: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What ``workflow.toml`` says."""

    type: Annotated[
        Literal["STANDARD", "EXPRESS"], Meta(description="Of the state machine; it cannot change later")
    ] = "STANDARD"
    calls: Annotated[
        list[_Call], Meta(description="What its role may call, beside what follows from the definition")
    ] = []


def json_schema() -> Mapping[str, Any]:
    """The JSON schema of ``workflow.toml``, for editors."""
    schema = msgspec.json.schema(Manifest)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": MANIFEST, **schema}


def read_workflow(root: Path, workflow: str | None) -> OwnWorkflow | None:
    """The project's own workflow; None without one.

    workflow  what ``[project]`` of ``environments.toml`` says

    Raises SettingsError.
    """
    found = [root / name for name in DEFINITIONS if (root / name).exists() or (root / name).is_symlink()]
    if not found:
        for name in (MANIFEST, "workflow.asl.yml"):
            if (root / name).exists():
                raise _refused(root / name, f"there is no {DEFINITIONS[0]}, which has the definition")
        return None
    path = found[0]
    if len(found) > 1:
        raise _refused(path, f"there is {found[1].name}, too")
    if workflow == TRANSACTIONS:
        raise _refused(path, f'environments.toml says workflow = "{TRANSACTIONS}", which is another one')
    manifest = _manifest(root / MANIFEST)
    return OwnWorkflow(
        definition=json.dumps(_definition(path), separators=(",", ":")),
        kind={"EXPRESS": EXPRESS, "STANDARD": STANDARD}[manifest.type],
        calls=tuple(Call(each.service, tuple(each.actions), each.resource) for each in manifest.calls),
        smoke=_smoke(root / SMOKE),
    )


def _definition(path: Path) -> Any:
    from pipeline.core.yaml_documents import parse_yaml
    from pipeline.verification.language.machine import read_machine

    try:
        text = read_regular(path, _DEFINITION_MAX).decode("utf-8")
        definition = parse_unambiguous_json(text) if path.suffix == ".json" else parse_yaml(text)
    except OSError as problem:
        raise _refused(path, str(problem.strerror)) from problem
    except ValueError as problem:
        raise _refused(path, str(problem)) from problem
    try:
        read_machine(definition)
    except VerificationError as problem:
        raise _refused(path, problem.why) from problem
    return definition


def _manifest(path: Path) -> Manifest:
    try:
        content = read_optional(path, _MANIFEST_MAX)
        return Manifest() if content is None else convert(parse_toml(content), Manifest)
    except WrongTable as problem:
        raise _refused(path, "; ".join(problem.findings)) from problem
    except OSError as problem:
        raise _refused(path, str(problem.strerror)) from problem
    except ValueError as problem:
        raise _refused(path, str(problem)) from problem


def _smoke(path: Path) -> str:
    try:
        content = read_optional(path, _INPUT_MAX)
        return (
            ""
            if content is None
            else json.dumps(parse_unambiguous_json(content.decode("utf-8-sig")), separators=(",", ":"))
        )
    except OSError as problem:
        raise _refused(path, str(problem.strerror)) from problem
    except ValueError as problem:
        raise _refused(path, f"it is not a JSON input: {problem}") from problem


def _refused(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path.name} cannot be used", why, f"Correct {path}; docs/own-workflow.md describes it.")


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
