"""Every change to ministack is a row, and every row is verified against the pinned ministack."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from pipeline.core.errors import LocalError
from pipeline.local.emulator.patches.catalogue import MINISTACK_VERSION, RELIED_ON, all_patches, patch_ministack
from pipeline.local.emulator.patches.invocations import invocation_patches
from pipeline.local.emulator.patches.patch import ABSENT, Patch, apply, find, findings, fingerprint
from pipeline.local.emulator.patches.replacements import CREATE_ONLY
from pipeline.local.emulator.registry_logins import RegistryLogins
from tests.unit.local.test_invocation import RECORD

ROOT = Path(__file__).resolve().parents[4]
GOLDEN = ROOT / "tests" / "golden"


LOGINS = RegistryLogins("token", "key")
ROWS = all_patches(None, LOGINS)


@pytest.mark.parametrize("row", ROWS, ids=[row.target for row in ROWS])
def test_ministack_is_what_the_row_replaces(row: Patch) -> None:
    assert findings([row], {}) == []
    assert row.ministack
    assert row.aws
    assert row.source


@pytest.mark.parametrize("target", sorted(RELIED_ON))
def test_ministack_has_what_is_relied_on(target: str) -> None:
    assert findings([], {target: RELIED_ON[target]}) == []


def row(target: str, expected: str) -> Patch:
    return Patch(target, expected, "one", "two", "D", lambda original, module: "replaced")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("services.ecr:_put_image", "services.ecr:_put_image has the fingerprint"),
        ("services.ecr:_gone", "ministack has no services.ecr:_gone"),
        ("services.gone:name", "ministack has no services.gone:name"),
    ],
)
def test_another_ministack_stops_the_start_before_anything_is_changed(target: str, said: str) -> None:
    before = {each.target: find(each.target)[2] for each in ROWS}
    with pytest.raises(LocalError, match=said) as caught:
        patch_ministack(None, LOGINS, faults=[row(target, "0" * 16)])
    assert MINISTACK_VERSION in str(caught.value.next_step)
    assert {each.target: find(each.target)[2] for each in ROWS} == before


def test_all_findings_are_reported_together() -> None:
    found = findings([row("services.ecr:_gone", ""), row("services.ecr:_put_image", "")], {"core.responses:x": "()"})
    assert len(found) == 3


def test_a_table_has_a_fingerprint_too() -> None:
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(TypeError, match="no fingerprint"):
        fingerprint({"a": row})


def test_a_row_may_add_an_entry_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    from ministack.services.cloudformation import changesets

    target = "services.cloudformation.changesets:_IMPORT_LOOKUPS/Custom::Kind"
    monkeypatch.setattr(changesets, "_IMPORT_LOOKUPS", dict(changesets._IMPORT_LOOKUPS))
    assert findings([row(target, ABSENT)], {}) == []
    apply([row(target, ABSENT)])
    assert changesets._IMPORT_LOOKUPS["Custom::Kind"] == "replaced"
    assert findings([row(target, ABSENT)], {}) != []


def test_a_later_row_wraps_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, original = find("services.ecr:_registry_id")
    monkeypatch.setattr(module, name, original)
    wrap = lambda letter: lambda inner, _: lambda: f"{letter}({inner()})"  # noqa: E731
    apply([Patch("services.ecr:_registry_id", "", "", "", "", wrap(letter)) for letter in "ab"])
    assert module._registry_id() == f"b(a({original()}))"


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for top in ("pipeline", "cfn", "commands"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def names_ministack(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(each.name.partition(".")[0] == "ministack" for each in names)
        case ast.ImportFrom(module=str(module)):
            return module.partition(".")[0] == "ministack"
        case ast.Constant(value=str(text)):
            return text.startswith("ministack.")
    return False


# Values of our own, or made here, whose attributes are set in pipeline/local/emulator.
OWN = {"self", "child", "self._batches", "watchdog", "waiting", "error", "config", "layers", "kept[growing]"}


def test_one_package_imports_ministack_and_one_function_changes_it() -> None:
    for path, tree in sources():
        nodes = list(ast.walk(tree))
        inside = path.is_relative_to("pipeline/local/emulator")
        assert inside or not any(map(names_ministack, nodes)), path
        if inside:
            calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr"]
            assert len(calls) == (path.name == "patch.py"), path
            stored = (node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
            assert {ast.unparse(each.value) for each in stored} <= OWN, path


def test_the_version_is_the_one_that_the_extra_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert f"ministack=={MINISTACK_VERSION}" in project["project"]["optional-dependencies"]["local"]


def test_an_image_function_without_a_runtime_is_a_service_error() -> None:
    from ministack.services import lambda_svc

    route, execute = (each.replace(find(each.target)[2], lambda_svc) for each in invocation_patches(None)[:2])
    assert route({"PackageType": "Zip"}) is None
    with pytest.raises(Exception, match="no runtime is attached"):
        execute({"config": RECORD}, {}, route({"PackageType": "Image"}), "id")


@pytest.mark.parametrize("kind", sorted(CREATE_ONLY))
def test_replacements_are_those_of_the_schemas(kind: str) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = [path.split("/")[2:] for path in schema.get("createOnlyProperties", [])]
    assert sorted(names[0] for names in paths if len(names) == 1) == list(CREATE_ONLY[kind])


def test_every_type_of_the_templates_is_known_to_ministack_or_the_table_and_none_to_both() -> None:
    known: Any = find("services.cloudformation.provisioners:_REPLACING_PROPERTIES")[2]
    kinds = {
        resource["Type"]
        for path in GOLDEN.glob("*.json")
        for resource in json.loads(path.read_text()).get("Resources", {}).values()
    }
    assert len(kinds) > 20
    assert {kind for kind in kinds if not kind.startswith("Custom::")} - known.keys() - CREATE_ONLY.keys() == set()
    assert known.keys() & CREATE_ONLY.keys() == set()
