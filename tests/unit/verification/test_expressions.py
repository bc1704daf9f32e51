"""JSONata as Step Functions evaluates it, with a memory that must not change any result."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.verification.language.expressions import Language
from pipeline.verification.language.interned import UNKNOWN, Values
from pipeline.verification.language.syntax import CLOCK, QueryError
from tests.conftest import examples

EPOCH = 1_800_000_000_000


def evaluate(text: str, given: Any = None, **variables: Any) -> Any:
    values = Values()
    roots = {"input": values.add(given), CLOCK: values.add(EPOCH), "context.Execution.Name": values.add("e")}
    roots |= {f"${name}": values.add(value) for name, value in variables.items()}
    return values[Language(values).evaluate(text, roots)]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1 + 1", 2),
        ("4 / 2", 2),
        ("null", None),
        ("$states.input.a", None),
        ("{'a': $states.input.nothing}", {}),
        ("$x & ($y)", "XY"),
        ("($a := 1; {'x': ($b := $a + 1; $b)})", {"x": 2}),
        ("($f := function($n) { $n <= 1 ? 1 : $n * $f($n - 1) }; $f(5))", 120),
        ("1 = 2 ? ($error('not taken')) : 5", 5),
        ("[1..3].($ * 2)", [2, 4, 6]),
        ("$map([1, 2], function($i) { ($i + 1) })", [2, 3]),
        ("$millis()", EPOCH),
        ("$now()", "2027-01-15T08:00:00.000Z"),
        ("$partition([1, 2, 3], 2)", [[1, 2], [3]]),
        ("$range(1, 5, 2)", [1, 3, 5]),
        ("$range(3, 1, -1)", [3, 2, 1]),
        ("$parse('{\"a\": [1, null]}')", {"a": [1, None]}),
        ("$parse('null')", None),
        ("$hash('a', 'SHA-1')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("$uuid() = $uuid()", True),
        ("$random(7) = $random(7)", True),
    ],
)
def test_a_result(text: str, result: Any) -> None:
    found = evaluate(text, {"a": None}, x="X", y="Y")
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("$states.input.nothing", "returned nothing"),
        ("$nothing", "returned nothing"),
        ("function($x) { $x }", "unsupported result type"),
        ("$eval('1')", r"no \$eval"),
        ("(1", "does not parse"),
        ("1 + 'a'", "T2002"),
        ("$error('no')", "no"),
        ("$hash('a', 'CRC')", "algorithm"),
        ("$hash('" + "x" * 10_001 + "', 'MD5')", "10,000"),
        ("$range(1, 2, 0)", "must not be zero"),
        ("$nothing()", "non-function"),
    ],
)
def test_what_aws_fails(text: str, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        evaluate(text, {})


def test_what_depends_on_the_unknown_is_unknown() -> None:
    assert evaluate("$states.input.a & 'b'", UNKNOWN) == UNKNOWN
    assert evaluate("'a' & 'b'", UNKNOWN) == "ab"
    assert evaluate("{'a': $states.input, 'b': 1}", UNKNOWN) == UNKNOWN
    assert evaluate("$x", UNKNOWN, x=1) == 1


@settings(max_examples=examples(1))
@given(st.lists(st.sampled_from(["x", "y", None, 1, {"x": 2}, [3]]), min_size=2, max_size=6))
def test_a_remembered_result_is_the_result(inputs: list[Any]) -> None:
    text = "($a := $states.input; {'a': ($b := $string($a); $b), 'c': ($type($states.input) & $d), 'e': $exists($d)})"
    values = Values()
    language = Language(values)
    for number, each in enumerate(inputs):
        variables = {"d": "d"} if number % 2 else {"d": str(number)}
        roots = {"input": values.add(each), **{f"${name}": values.add(value) for name, value in variables.items()}}
        assert values[language.evaluate(text, roots)] == evaluate(text, each, **variables)
    assert language.evaluations < 4 * len(inputs) + 1
