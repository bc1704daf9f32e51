from __future__ import annotations

from cfn.rules import ReservedConcurrencyTooHigh
from tests.unit.rules.linting import cases, failing, findings, matches

FUNCTION = "{Type: AWS::Lambda::Function, Properties: {Role: r, Code: {ZipFile: x}, ReservedConcurrentExecutions: %s}}"


@failing(
    one_function_takes_all=(f"Resources: {{A: {FUNCTION % 901}}}", "at most 900"),
    the_sum_counts=(
        f"Resources: {{A: {FUNCTION % 500}, B: {FUNCTION % 450}}}",
        "950 executions are reserved (A 500, B 450)",
    ),
    a_parameter_by_its_default=(
        f"""
        Parameters: {{Reserved: {{Type: Number, Default: 950}}}}
        Resources: {{A: {FUNCTION % "!Ref Reserved"}}}
        """,
        "950",
    ),
    a_mapping=(
        f"""
        Mappings: {{Sizes: {{prod: {{Reserved: 950}}}}}}
        Resources: {{A: {FUNCTION % "!FindInMap [Sizes, prod, Reserved]"}}}
        """,
        "950",
    ),
    a_text_is_a_number=(f"Resources: {{A: {FUNCTION % repr('950')}}}", "950"),
    a_branch_of_a_condition=(
        f"""
        Parameters: {{Environment: {{Type: String, Default: dev}}}}
        Conditions: {{IsProd: !Equals [!Ref Environment, prod]}}
        Resources: {{A: {FUNCTION % "!If [IsProd, 950, 5]"}}}
        """,
        "(when IsProd is true)",
    ),
    serverless_functions_with_globals=(
        """
        Transform: AWS::Serverless-2016-10-31
        Globals: {Function: {ReservedConcurrentExecutions: 500}}
        Resources:
          A: {Type: AWS::Serverless::Function, Properties: {InlineCode: x, Runtime: python3.13, Handler: index.f}}
          B: {Type: AWS::Serverless::Function, Properties: {InlineCode: x, Runtime: python3.13, Handler: index.f}}
        """,
        "A 500, B 500",
    ),
)
def test_a_reservation_that_an_account_cannot_spare_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(ReservedConcurrencyTooHigh, template)] == [True]


@cases(
    exactly_what_can_be_spared=f"Resources: {{A: {FUNCTION % 900}}}",
    zero_stops_a_function_and_takes_nothing=f"Resources: {{A: {FUNCTION % 0}}}",
    a_parameter_without_default=f"""
        Parameters: {{Reserved: {{Type: Number}}}}
        Resources: {{A: {FUNCTION % "!Ref Reserved"}}}
        """,
    an_import=f"Resources: {{A: {FUNCTION % '{Fn::ImportValue: reserved}'}}}",
    no_value=f"Resources: {{A: {FUNCTION % '!Ref AWS::NoValue'}}}",
    functions_that_never_exist_together=f"""
        Parameters: {{Environment: {{Type: String, Default: dev}}}}
        Conditions:
          IsProd: !Equals [!Ref Environment, prod]
          IsDev: !Equals [!Ref Environment, dev]
        Resources:
          A: {{Condition: IsProd, {(FUNCTION % 500)[1:]}
          B: {{Condition: IsDev, {(FUNCTION % 500)[1:]}
        """,
)
def test_a_reservation_that_fits_or_is_not_known_passes(template: str) -> None:
    assert findings(ReservedConcurrencyTooHigh, template) == []


def test_an_account_with_a_limit_of_ten_can_reserve_nothing() -> None:
    rule = ReservedConcurrencyTooHigh()
    rule.configure({"account_limit": 10})
    (found,) = matches(rule, f"Resources: {{A: {FUNCTION % 1}}}")
    assert "Lambda keeps 10 unreserved, so at most 0 can be reserved" in found.message


def test_the_finding_points_at_the_function_that_reserves_most() -> None:
    text = f"Resources:\n  A: {FUNCTION % 100}\n  B: {FUNCTION % 850}\n"
    (found,) = matches(ReservedConcurrencyTooHigh(), text)
    assert (found.linenumber, found.path[1]) == (3, "B")
