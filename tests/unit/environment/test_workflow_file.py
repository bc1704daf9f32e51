"""``workflow.asl.yaml`` and ``workflow.toml`` are read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cfn.settings import TRANSACTIONS, Call, OwnWorkflow
from pipeline.core.errors import SettingsError
from pipeline.environment.workflow_file import Manifest, json_schema, read_workflow

PASS = '{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}'


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    return folder


def test_a_project_without_one_has_none(tmp_path: Path) -> None:
    assert read_workflow(tmp_path, None) is None
    assert read_workflow(tmp_path, TRANSACTIONS) is None


@pytest.mark.parametrize("name", ["workflow.asl.yaml", "workflow.asl.json"])
def test_both_forms_are_read(tmp_path: Path, name: str) -> None:
    assert read_workflow(write(tmp_path, {name: PASS}), None) == OwnWorkflow(PASS)


def test_everything_beside_it_is_read(tmp_path: Path) -> None:
    calls = '[[calls]]\nservice = "s3"\nactions = ["GetObject"]\nresource = "Reports/*"\n'
    files = {
        "workflow.asl.yaml": "StartAt: No\nStates:\n  No: {Type: Wait, Timestamp: 2026-12-01T00:00:00Z, End: true}\n",
        "workflow.toml": f'type = "EXPRESS"\n{calls}',
        "events/smoke.json": '{"id": 1}\n',
    }
    found = read_workflow(write(tmp_path, files), None)
    assert found is not None
    assert json.loads(found.definition)["States"] == {
        "No": {"Type": "Wait", "Timestamp": "2026-12-01T00:00:00Z", "End": True}
    }
    assert (found.kind, found.smoke) == ("EXPRESS", '{"id":1}')
    assert found.calls == (Call("s3", ("GetObject",), "Reports/*"),)


@pytest.mark.parametrize(
    ("files", "what", "why"),
    [
        ({"workflow.asl.yaml": PASS, "workflow.asl.json": PASS}, "workflow.asl.yaml", "workflow.asl.json, too"),
        ({"workflow.toml": ""}, "workflow.toml", "there is no workflow.asl.yaml"),
        ({"workflow.asl.yml": PASS}, "workflow.asl.yml", "there is no workflow.asl.yaml"),
        ({"workflow.asl.yaml": "["}, "workflow.asl.yaml", "flow node"),
        ({"workflow.asl.yaml": "\udcff"}, "workflow.asl.yaml", "can't decode"),
        ({"workflow.asl.yaml": ""}, "workflow.asl.yaml", "it is no JSON object"),
        ({"workflow.asl.yaml": "StartAt: A\nStates: {A: {}, A: {}}"}, "workflow.asl.yaml", "'A' is there"),
        ({"workflow.asl.json": '{"a":1,"a":2}'}, "workflow.asl.json", "the name a is repeated"),
        ({"workflow.asl.json": "[" * 100_000}, "workflow.asl.json", "nested too deep"),
        ({"workflow.asl.yaml": "[\n" * 100_000}, "workflow.asl.yaml", "nested too deep"),
        ({"workflow.asl.json": '{"StartAt":"A","States":{"A":{}}}'}, "workflow.asl.json", "has no Type of Task"),
        ({"workflow.asl.json": PASS.replace('"End":true', '"Next":["B"]')}, "workflow.asl.json", "leads to a state"),
        ({"workflow.asl.json": PASS.replace('"End"', '"Catch":5,"End"')}, "workflow.asl.json", "no list of objects"),
        ({"workflow.asl.json": PASS.replace('"End"', '"Retry":[5],"End"')}, "workflow.asl.json", "no list of objects"),
        ({"workflow.asl.json": PASS.replace('"End"', '"ItemReader":5,"End"')}, "workflow.asl.json", "is no object"),
        ({"workflow.asl.json": PASS, "workflow.toml": 'type = "FAST"'}, "workflow.toml", "FAST"),
        ({"workflow.asl.json": PASS, "workflow.toml": 'typ = "EXPRESS"'}, "workflow.toml", "did you mean type?"),
        ({"workflow.asl.json": PASS, "events/smoke.json": "{"}, "smoke.json", "it is not a JSON input"),
        ({"workflow.asl.json": PASS, "events/smoke.json": "[NaN]"}, "smoke.json", "NaN is not a JSON number"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, files: dict[str, str], what: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_workflow(write(tmp_path, files), None)
    assert caught.value.what == f"{what} cannot be used"
    assert why in caught.value.why


def test_a_link_to_a_missing_definition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "workflow.asl.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(SettingsError, match="No such file"):
        read_workflow(tmp_path, None)


@pytest.mark.parametrize("name", ["workflow.toml", "events/smoke.json"])
def test_a_link_to_a_missing_file_is_not_a_missing_file(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"workflow.asl.yaml": PASS, name: ""})
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(SettingsError, match="link to a missing file"):
        read_workflow(tmp_path, None)


def test_the_transaction_pipeline_keeps_its_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='says workflow = "transactions"'):
        read_workflow(write(tmp_path, {"workflow.asl.json": PASS}), TRANSACTIONS)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"workflow.asl.yaml": f"# {'x' * 1_048_576}"})
    with pytest.raises(SettingsError, match="more than 1,048,576 bytes"):
        read_workflow(tmp_path, None)
    write(tmp_path, {"workflow.asl.yaml": PASS, "events/smoke.json": f'"{"x" * 262_144}"'})
    with pytest.raises(SettingsError, match="more than 262,144 bytes"):
        read_workflow(tmp_path, None)


def test_the_published_schema_is_the_definition() -> None:
    published = json.loads((Path(__file__).parents[3] / "docs" / "workflow.schema.json").read_text())
    assert published == json_schema(), "after a change on purpose: make docs"
    assert set(published["$defs"]["Manifest"]["properties"]) == set(Manifest.__struct_fields__)
