"""``function.toml``: every wrong key is named, what differs in an environment counts, the schema is equal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from cfn.events.kinds import Event, Queue, Schedule
from pipeline.assembly.manifest import Manifest, definition_of, json_schema, judge_manifest, read_manifest
from pipeline.core.tables import WrongTable

DOCS = Path(__file__).parents[3] / "docs"
HANDLER = 'handler = "handler.handle"\n'


def read(tmp_path: Path, text: str) -> Manifest:
    path = tmp_path / "function.toml"
    path.write_text(HANDLER + text)
    return read_manifest(path)


def test_events_are_read_by_their_type(tmp_path: Path) -> None:
    manifest = read(
        tmp_path, '[[events]]\ntype = "sqs"\nbatch = 5\n[[events]]\ntype = "schedule"\nexpression = "rate(1 day)"\n'
    )
    assert manifest.events == [Queue(batch=5), Schedule("rate(1 day)")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memroy = 512\n", "memroy: no such key; did you mean memory?"),
        ('[[events]]\ntype = "sqss"\n', "events[0].type: 'sqss' is unknown; did you mean sqs?"),
        ("[[events]]\nbatch = 1\n", "events[0].type: missing; there are"),
        ('[[events]]\ntype = "sqs"\nbatsh = 1\n', "events[0].batsh: no such key; did you mean batch?"),
        ('[[events]]\ntype = "sqs"\nbatch = 0\n', "events[0].batch: Expected `int` >= 1"),
        ('[[events]]\ntype = "url"\nauth = "public"\n', "events[0].auth: Invalid enum value 'public'"),
        ('[[events]]\ntype = "http"\n', "events[0].route: missing"),
        ("[environments.prod]\nmemroy = 1\n", "environments.prod.memroy: no such key; did you mean memory?"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_right_one(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongTable) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(WrongTable) as caught:
        read(tmp_path, 'colour = 1\nmemory = "x"\n[[events]]\ntype = "sns"\ntopics = "a"\n')
    assert len(caught.value.findings) == 3


def test_what_differs_in_an_environment(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        'memory = 512\n[environment]\nA = "1"\nB = "2"\n[environments.prod]\nmemory = 2048\ntracing = true\n'
        '[environments.prod.environment]\nB = "3"\n[environments.prod.secrets]\nKEY = "ssm:key"\n',
    )
    dev, prod = definition_of("bill", manifest, "dev"), definition_of("bill", manifest, "prod")
    assert (dev.memory, dev.tracing, dict(dev.environment), dev.secrets) == (512, False, {"A": "1", "B": "2"}, ())
    assert (prod.memory, prod.tracing, dict(prod.environment)) == (2048, True, {"A": "1", "B": "3"})
    assert prod.secrets == (("KEY", "ssm:key"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ephemeral_storage = 100\n", "ephemeral_storage = 100 is outside Lambda's 512 to 10240 MB"),
        ("retries = 3\n", "retries = 3 is outside Lambda's 0 to 2"),
        ("maximum_age = 1\n", "maximum_age = 1 is outside Lambda's 60 to 21600 s"),
        ("reserved_concurrency = -1\n", "reserved_concurrency = -1 is below 0"),
        ("[environments.prod]\nmemory = 1\n", "environments.prod.memory = 1 is outside Lambda's 128 to 10240 MB"),
        ('[secrets]\nAWS_REGION = "ssm:a"\n', "[secrets] AWS_REGION is reserved by Lambda"),
        ('[environment]\nA = "1"\n[secrets]\nA = "ssm:a"\n', "[secrets] A is a variable, too"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in list(judge_manifest(read(tmp_path, text)))


def test_the_published_schema_is_the_definition() -> None:
    published = json.loads((DOCS / "function.schema.json").read_text())
    assert published == json_schema(), "after a change on purpose: make docs"
    assert set(published["$defs"]["Manifest"]["properties"]) == set(Manifest.__struct_fields__)


def test_the_page_describes_every_key_and_event() -> None:
    page = (DOCS / "functions.md").read_text()
    toml = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    keys = set(re.findall(r"^(?:# )?(\w+) = ", toml, re.MULTILINE)) | set(re.findall(r"^\[+(\w+)", toml, re.MULTILINE))
    assert set(Manifest.__struct_fields__) <= keys
    kinds = {str(each.__struct_config__.tag): each for each in Event.__args__}  # type: ignore[attr-defined]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^\n]*)", page, re.MULTILINE))
    assert set(rows) == set(kinds)
    for tag, kind in kinds.items():
        named = set(re.findall(r"`(\w+)`", rows[tag].split("|")[1]))
        fields = {field.name for field in msgspec.structs.fields(kind)}
        assert named & fields == fields or tag == "kinesis"


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    page = (DOCS / "functions.md").read_text()
    path = tmp_path / "function.toml"
    path.write_text(re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0])
    assert list(judge_manifest(read_manifest(path))) == []
