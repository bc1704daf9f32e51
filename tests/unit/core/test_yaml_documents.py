"""YAML is read as the JSON value that people mean by it, and nothing in it is lost silently."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.yaml_documents import findings_in, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 2026-12-01", {"a": "2026-12-01"}),
        ("No: [yes, on, off]", {"No": ["yes", "on", "off"]}),
        ("a: [true, False, 1, 1.5, null, ~]", {"a": [True, False, 1, 1.5, None, None]}),
        ("a: &b {c: 1}\nd: *b", {"a": {"c": 1}, "d": {"c": 1}}),
        ('{"a": "\\u00e9"}', {"a": "é"}),
    ],
)
def test_values_are_those_of_json(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is there twice .line 3."),
        ("- b: {c: 1, c: 2}", "'c' is there twice"),
        ("a: [", "while parsing"),
        ("--- 1\n--- 2", "expected a single document"),
        ("a: !!binary aGk=", "that JSON does not have"),
        ("a: .inf", "not JSON compliant"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable key"),
        ("a: &b [*b]", "more than 1,000,000 values"),
        ("[\n" * 100_000, "nested too deep"),
    ],
)
def test_what_json_does_not_have_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_yaml(text)


def test_merged_keys_are_not_repeated() -> None:
    assert findings_in("a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n") == []


def bomb(levels: int) -> str:
    """A list of ten lists of ten lists …, each an alias of the one before."""
    lines = ["- &a0 x"]
    lines += [f"- &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels + 1)]
    return "\n".join(lines)


def test_aliases_are_written_out_within_bounds() -> None:
    assert len(parse_yaml(bomb(3))) == 4
    with pytest.raises(ValueError, match="more than 1,000,000 values"):
        parse_yaml(bomb(30))
