"""What a rollback takes back: images, configuration, functions that came later; and what it says of the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger.releases import template_digest
from pipeline.ledger.stored_images import read_images
from pipeline.oci.values import OCI_MANIFEST, Digest
from tests.functional.command_line import CommandLine, copy_project


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    place = tmp_path_factory.mktemp("rollback")
    line = CommandLine(place / "local", project=copy_project(place / "project"))
    # CodeDeploy's, which the embedded AWS does not have: there the alias moves at once.
    (line.project / "environments.toml").write_text(
        '[project]\nworkflow = "transactions"\n[defaults]\nrelease = "LambdaCanary10Percent5Minutes"\n'
    )
    yield line
    line.run("down")


def functions(line: CommandLine) -> dict[str, Any]:
    return {each["name"]: each["digest"] for each in line.json("releases")["releases"][0]["functions"]}


@pytest.fixture(scope="module")
def first(line: CommandLine) -> dict[str, Any]:
    assert line.json("up")["release"] == 1
    return functions(line)


def memory(line: CommandLine) -> int:
    return int(line.client("lambda").get_function_configuration(FunctionName="fraud-detection-dev")["MemorySize"])


def test_configuration_goes_back_too(line: CommandLine, first: dict[str, Any], tmp_path: Path) -> None:
    definition = line.project / "images" / "fraud-detection" / "function.toml"
    definition.write_text(definition.read_text().replace("memory = 1769", "memory = 1024"))
    assert line.json("up")["release"] == 2
    assert (functions(line), memory(line)) == (first, 1024)
    listed = line.run("releases").stdout.splitlines()
    assert [each.split()[0] for each in listed] == ["2", "1"]
    assert [each.endswith("  changed: template") for each in listed] == [True, False]

    back = line.json("rollback")
    assert (back["to"], back["changed"], back["release"], back["not_taken_back"]) == (1, True, 3, [])
    assert (functions(line), memory(line)) == (first, 1769)
    assert line.run("rollback", "--to", "1").stdout.startswith("dev runs release 1 already\n")

    # From another machine, which has nothing of it in its cache.
    assert line.json("rollback", "--to", "2", TRANSACTION_PIPELINE_CACHE=str(tmp_path))["release"] == 4
    assert memory(line) == 1024


def test_images_alone_go_back_where_that_is_wanted(line: CommandLine, first: dict[str, Any]) -> None:
    back = line.json("rollback", "--to", "1", "--images-only")
    assert (back["changed"], back["not_taken_back"], memory(line)) == (False, ["template"], 1024)
    told = line.run("rollback", "--to", "1", "--images-only").stdout
    assert told.startswith("dev runs the images of release 1 already\n")
    assert told.endswith("\nNot rolled back: template\nNext: ./bootstrap.py rollback --to 1\n")


def test_a_template_that_is_gone_stays_and_is_told(line: CommandLine, first: dict[str, Any]) -> None:
    ecr = line.client("ecr")
    kept = [each for each in read_images(ecr, "compliance-checking-dev") if each.template is not None]
    assert len(kept) == 2
    assert {each.subject for each in kept} == {Digest.parse(first["compliance-checking"])}
    manifests = {
        str(each.digest): ecr.batch_get_image(
            repositoryName=each.repository, imageIds=[{"imageDigest": str(each.digest)}]
        )["images"][0]["imageManifest"]
        for each in kept
    }
    ecr.batch_delete_image(
        repositoryName="compliance-checking-dev", imageIds=[{"imageDigest": digest} for digest in manifests]
    )
    told = line.run("rollback", "--to", "1").stdout
    assert memory(line) == 1024
    assert "Next: its template was not kept; check out what it was made from, then ./bootstrap.py up\n" in told
    for manifest in manifests.values():
        ecr.put_image(
            repositoryName="compliance-checking-dev", imageManifest=manifest, imageManifestMediaType=OCI_MANIFEST
        )
    assert line.json("rollback", "--to", "1")["not_taken_back"] == []
    assert memory(line) == 1769


def test_a_function_that_came_later_goes_when_that_is_approved(line: CommandLine, first: dict[str, Any]) -> None:
    images = line.project / "images"
    shutil.copytree(images / "fraud-detection", images / "velocity-check")
    handler = images / "fraud-detection" / "handler.py"
    handler.write_text(handler.read_text() + "\n# later\n")
    added = line.json("up")["release"]
    later = functions(line)
    assert set(later) == {*first, "velocity-check"}

    # With images alone it stays, and is part of what is recorded.
    told = line.run("rollback", "--to", "1", "--images-only").stdout
    assert told.startswith(f"dev runs the images of release 1 again, recorded as release {added + 1}\n")
    assert f"  {'velocity-check-dev':<40} stays as it is: release 1 did not have it\n" in told
    assert functions(line) == {**first, "velocity-check": later["velocity-check"]}

    # With the template it goes, and its log group with it: that is asked about.
    refused = line.json("rollback", "--to", "1", code=1)
    assert "VelocityCheckLogGroup (AWS::Logs::LogGroup) would be deleted" in refused["why"]
    assert "./bootstrap.py rollback --to 1 --yes" in refused["next_step"]
    done = line.json("rollback", "--to", "1", "--yes")
    assert (done["removed"], done["unaffected"], done["changed"]) == (["velocity-check-dev"], [], True)
    assert functions(line) == first
    with pytest.raises(line.client("lambda").exceptions.ResourceNotFoundException):
        line.client("lambda").get_function(FunctionName="velocity-check-dev")

    # And all the way forth.
    assert line.json("rollback", "--to", str(added))["removed"] == []
    assert functions(line) == later


def test_a_release_comes_back_after_the_environment_was_made_anew(line: CommandLine, first: dict[str, Any]) -> None:
    """Nothing of the repositories that were deleted is taken for something that is there."""
    line.run("down", "--yes")
    shutil.rmtree(line.project / "images" / "velocity-check")
    assert line.json("up", "--yes")["release"] == 1
    before = memory(line)
    definition = line.project / "images" / "fraud-detection" / "function.toml"
    definition.write_text(
        definition.read_text().replace("timeout = 60", "timeout = 50").replace(f"= {before}", "= 512")
    )
    line.json("up")
    assert memory(line) == 512
    assert line.json("rollback")["not_taken_back"] == []
    assert memory(line) == before


def test_a_record_is_of_what_runs_also_after_infra(line: CommandLine, first: dict[str, Any]) -> None:
    line.json("rollback", "--to", "2")
    definition = line.project / "images" / "fraud-detection" / "function.toml"
    definition.write_text(definition.read_text().replace("timeout = 50", "timeout = 40"))
    line.run("infra")
    done = line.json("rollback", "--to", "1", "--images-only")
    assert done["not_taken_back"] == ["template"]
    template = line.client("cloudformation").get_template(StackName="transaction-pipeline-dev")["TemplateBody"]
    recorded = line.json("releases")["releases"][0]["template"]
    assert recorded == str(template_digest(template if isinstance(template, str) else json.dumps(template)))
