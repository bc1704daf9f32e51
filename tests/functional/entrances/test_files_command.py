"""``submit --file FILE --map`` with the functions of the project."""

from __future__ import annotations

import json

from tests.functional.entrances.conftest import ENVIRONMENT, Entrances, transaction


def test_a_file_is_answered_through_the_map(entrances: Entrances) -> None:
    lines = [json.dumps(transaction(f"mapped-{number}", amount=f"{number + 1}.00")) for number in range(12)]
    path = entrances.project.write("mapped.jsonl", "\n".join([*lines, "no json", "[]"]) + "\n")
    done = entrances.project.json("submit", "--file", str(path), "--map", "-e", ENVIRONMENT, code=1)
    assert done["counts"] == {"APPROVED": 12, "REJECTED": 1, "malformed": 1}
    assert (done["lines"], done["done_before"], done["mapped"]) == (14, 0, 13)
    assert done["place"].startswith(f"s3://{entrances.outputs['FilesBucketName']}/results/")
    report = done["report"]
    assert report["sums"] == {"USD": {"APPROVED": "78.00"}}
    assert report["to_correct"] == {"REJECTED": [14], "malformed": [13]}
    assert 0 < report["entrance_usd"] < 0.001
    assert entrances.record("mapped-3")["execution"].startswith("file-")
    again = entrances.project.json("submit", "--file", str(path), "--map", "-e", ENVIRONMENT, code=1)
    assert (again["counts"], again["done_before"]) == (done["counts"], 14)


def test_explain_names_the_entrance(entrances: Entrances) -> None:
    path = entrances.project.write("told.jsonl", json.dumps(transaction("told-by-file")) + "\n")
    entrances.project.run("submit", "--file", str(path), "--map", "-e", ENVIRONMENT)
    assert entrances.project.json("explain", "told-by-file", "-e", ENVIRONMENT)["entrance"] == "files"


def test_an_environment_without_the_entrance_says_how_to_get_it(entrances: Entrances) -> None:
    path = entrances.project.write("nowhere.jsonl", json.dumps(transaction("nowhere")) + "\n")
    refused = entrances.project.json("submit", "--file", str(path), "--map", code=1)
    assert refused["why"] == "dev has no entrance files"
    assert 'entrances = ["files"]' in refused["next_step"]
