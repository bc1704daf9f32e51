"""The rules as cfn-lint's users get them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cfnlint.config import ConfigMixIn
from cfnlint.core import get_rules
from cfnlint.runner import Runner

import cfn.rules

FOLDER = Path(cfn.rules.__file__).parent
RULES = [getattr(cfn.rules, name) for name in cfn.rules.__all__]
TEMPLATE = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Role: arn:aws:iam::123456789012:role/r
      PackageType: Image
      Code: {ImageUri: "123456789012.dkr.ecr.us-east-1.amazonaws.com/f:latest"}
"""


def lint(*arguments: str, cwd: Path, **environment: str) -> list[dict[str, object]]:
    (cwd / "template.yaml").write_text(TEMPLATE)
    run = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "-f", "json", *arguments, "-t", "template.yaml"],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    return list(json.loads(run.stdout))


def ids(found: list[dict[str, object]]) -> set[str]:
    return {str(match["Rule"]["Id"]) for match in found}  # type: ignore[index]


def test_a_folder_is_enough(tmp_path: Path) -> None:
    """Not installed, not on the path, copied elsewhere, and with another package called cfn on the path."""
    shutil.copytree(FOLDER, tmp_path / "guard")
    (tmp_path / "cfn").mkdir()
    (tmp_path / "cfn" / "__init__.py").write_text("raise ImportError('not this one')")
    assert ids(lint("-a", "guard", cwd=tmp_path, PYTHONPATH=str(tmp_path))) == {"W9530", "W9580"}


def test_a_module_path_is_enough(tmp_path: Path) -> None:
    root = str(FOLDER.parent.parent)
    assert ids(lint("-a", "cfn.rules", cwd=tmp_path, PYTHONPATH=root)) == {"W9530", "W9580"}


@pytest.mark.parametrize("page", ["recovery.md", "rules.md"])
def test_the_commands_of_the_pages_work_in_a_clone(page: str, tmp_path: Path) -> None:
    root = FOLDER.parent.parent
    commands = re.findall(r"\.venv/bin/(cfn-lint [^`\n]+)`", (root / "docs" / page).read_text(encoding="utf-8"))
    assert commands
    (tmp_path / "template.json").write_text(json.dumps(yaml.safe_load(TEMPLATE)))
    for command in dict.fromkeys(commands):
        line = command.replace("DIR", str(tmp_path)).replace("TEMPLATE", str(tmp_path / "template.json"))
        run = subprocess.run(
            f"{Path(sys.executable).parent}/{line}", shell=True, cwd=root, capture_output=True, text=True
        )
        assert ("W9530" in run.stdout, run.stderr) == (True, ""), line


def test_a_finding_carries_its_source_and_its_line(tmp_path: Path) -> None:
    found = {match["Rule"]["Id"]: match for match in lint("-a", str(FOLDER), cwd=tmp_path)}  # type: ignore[index]
    tag = found["W9530"]
    assert tag["Rule"]["Source"].startswith("https://docs.aws.amazon.com/lambda/")  # type: ignore[index]
    assert tag["Location"]["Start"]["LineNumber"] == 8  # type: ignore[index]


def test_both_ways_of_loading_give_the_same_rules() -> None:
    by_module = get_rules(["cfn.rules"], [], ["I", "W", "E"])
    by_folder = get_rules([str(FOLDER)], [], ["I", "W", "E"])
    assert by_module.all_rules.keys() == by_folder.all_rules.keys()
    assert {rule.id for rule in RULES} <= by_module.all_rules.keys()


def test_no_id_is_cfn_lints_own() -> None:
    own = Runner(ConfigMixIn([])).rules.data
    assert not {rule.id for rule in RULES} & set(own)
    assert not [name for name in own if name.startswith(("E95", "W95", "E96", "W96"))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_what_it_is(rule: type) -> None:
    made = rule()
    assert re.fullmatch(r"[EW]9[56]\d\d", made.id)
    assert made.shortdesc[0].isupper()
    assert not made.shortdesc.endswith(".")
    assert len(made.description) > 40
    assert made.source_url.startswith("https://")
    assert made.tags


def test_ids_are_given_once() -> None:
    found = [rule.id for rule in RULES]
    assert len(found) == len(set(found))


def test_every_rule_is_exported() -> None:
    defined = {
        name
        for file in FOLDER.glob("_*.py")
        for name in re.findall(r"^class (\w+)\(TemplateRule\)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert defined == set(cfn.rules.__all__)


def test_the_page_lists_every_rule() -> None:
    page = (FOLDER.parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([EW]9\d{3}) \|", page, re.MULTILINE))
    assert listed == {rule.id for rule in RULES}
