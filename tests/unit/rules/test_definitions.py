from __future__ import annotations

import json
import textwrap

from cfn.rules import DefinitionRefused, UnreachableState
from tests.unit.rules.linting import cases, failing, findings, matches

OBJECT = """
        Resources:
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: arn:aws:iam::123456789012:role/r
              Definition: %s
"""
TEXT = """
        Parameters: {Number: {Type: Number}, Unknown: {Type: String}}
        Resources:
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: arn:aws:iam::123456789012:role/r
              DefinitionString: %s
"""
SAM = """
        Transform: AWS::Serverless-2016-10-31
        Resources:
          M: {Type: AWS::Serverless::StateMachine, Properties: {Role: r, Definition: %s}}
"""
GOOD = "{StartAt: A, States: {A: {Type: Pass, Next: B}, B: {Type: Succeed}}}"
ALONE = "{StartAt: A, States: {A: {Type: Succeed}}}"
ASTRAY = GOOD.replace("Next: B", "Next: C")


def sub(definition: object) -> str:
    """A definition as the text of an Fn::Sub, with something left to substitute."""
    return f"!Sub '{json.dumps({'Comment': '${AWS::Region}', **dict(definition)})}'"  # type: ignore[call-overload]


@failing(
    next_leads_nowhere=(OBJECT % ASTRAY, "Missing 'Next' target: C at /States/A/Next"),
    default_leads_nowhere=(
        OBJECT % "{StartAt: A, States: {A: {Type: Choice, Default: C, Choices: [{Condition: x, Next: B}]},"
        " B: {Type: Fail}}}",
        "target: C at /States/A/Default",
    ),
    a_choice_leads_nowhere=(
        OBJECT % "{StartAt: A, States: {A: {Type: Choice, Default: B, Choices: [{Condition: x, Next: C}]},"
        " B: {Type: Fail}}}",
        "target: C at /States/A/Choices[0]/Next",
    ),
    a_catch_leads_nowhere=(
        OBJECT
        % "{StartAt: A, States: {A: {Type: Task, Resource: arn, End: true, Catch: [{ErrorEquals: [x], Next: C}]}}}",
        "target: C at /States/A/Catch[0]/Next",
    ),
    inside_a_branch=(
        OBJECT % f"{{StartAt: P, States: {{P: {{Type: Parallel, End: true, Branches: [{ASTRAY}]}}}}}}",
        "at /States/P/Branches/0/States/A/Next",
    ),
    inside_a_map=(
        OBJECT % f"{{StartAt: P, States: {{P: {{Type: Map, End: true, ItemProcessor: {ASTRAY}}}}}}}",
        "at /States/P/ItemProcessor/States/A/Next",
    ),
    a_name_in_two_branches=(
        OBJECT % f"{{StartAt: P, States: {{P: {{Type: Parallel, End: true, Branches: [{ALONE}, {ALONE}]}}}}}}",
        "Duplicate State name: A at /States/P/Branches/1/States/A",
    ),
    a_name_inside_and_outside_of_a_map=(
        OBJECT % f"{{StartAt: A, States: {{A: {{Type: Map, End: true, ItemProcessor: {GOOD}}}}}}}",
        "Duplicate State name: A at /States/A/ItemProcessor/States/A",
    ),
    no_end=(OBJECT % "{StartAt: A, States: {A: {Type: Pass, Next: A}}}", "no terminal state"),
    not_json=(TEXT % """'{"StartAt": "A", States: {}}'""", "cannot be parsed"),
    a_list=(TEXT % "'[]'", "not an object"),
    start_in_sub=(
        TEXT % sub({"StartAt": "Z", "States": {"A": {"Type": "Succeed"}}}),
        "StartAt names 'Z'",
    ),
    type_in_sub=(
        TEXT % sub({"StartAt": "A", "States": {"A": {"Type": "Tsk", "End": True}}}),
        "'Tsk' is not a state type",
    ),
    no_resource_in_join=(
        TEXT % """!Join ['', ['{"StartAt": "A", "States": {"A": {"Type": "Task", ', '"End": true}}}']]""",
        "Resource is required at /States/A",
    ),
    next_and_end_in_sub=(
        TEXT % sub({"StartAt": "A", "States": {"A": {"Type": "Pass"}, "B": {"Type": "Succeed"}}}),
        "Exactly one of Next and End is required at /States/A",
    ),
    parameters_with_jsonata=(
        TEXT
        % sub(
            {
                "QueryLanguage": "JSONata",
                "StartAt": "A",
                "States": {"A": {"Type": "Pass", "End": True, "Parameters": {}}},
            }
        ),
        "Parameters cannot be used with JSONata",
    ),
    output_with_jsonpath=(
        TEXT % sub({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True, "Output": {}}}}),
        "Output cannot be used with JSONPath",
    ),
    one_state_of_jsonata=(
        TEXT
        % sub(
            {
                "StartAt": "A",
                "States": {"A": {"QueryLanguage": "JSONata", "Type": "Pass", "End": True, "ResultPath": "$"}},
            }
        ),
        "ResultPath cannot be used with JSONata",
    ),
    to_json_string=(
        "        Transform: AWS::LanguageExtensions"
        + TEXT % "{Fn::ToJsonString: {StartAt: A, States: {A: {Type: Pass, Next: !Ref AWS::Region}, B: {Type: X}}}}",
        "'X' is not a state type",
    ),
    serverless=(SAM % GOOD.replace("Succeed", "Sucess"), "'Sucess' is not a state type"),
    substitutions=(
        TEXT % """'{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "${last}"}, "B": {"Type": "Succeed"}}}'"""
        + "              DefinitionSubstitutions: {last: C}",
        "target: C",
    ),
    one_branch_of_a_condition=(
        """
        Parameters: {Fast: {Type: String, AllowedValues: ['yes', 'no'], Default: 'yes'}}
        Conditions: {IsFast: !Equals [!Ref Fast, 'yes']}
        """
        + OBJECT % "{StartAt: A, States: {A: {Type: Pass, Next: !If [IsFast, B, C]}, B: {Type: Succeed}}}",
        "(when IsFast is false)",
    ),
)
def test_a_definition_that_is_refused_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(DefinitionRefused, template)] == [True]


@cases(
    an_object=OBJECT % GOOD,
    a_loop_with_a_way_out=OBJECT
    % "{StartAt: A, States: {A: {Type: Choice, Choices: [{Condition: x, Next: A}], Default: B}, B: {Type: Succeed}}}",
    a_text=TEXT % """'{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}'""",
    sub=TEXT % sub({"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${AWS::Region}", "End": True}}}),
    a_number_without_quotes=TEXT
    % """!Sub '{"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": ${Number}, "End": true}}}'""",
    a_text_that_is_not_known=TEXT % "!Ref Unknown",
    a_state_that_is_not_known=TEXT
    % """!Sub '{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "${Unknown}"}, "B": {"Type": "Succeed"}}}'""",
    a_part_that_is_not_known=TEXT % """!Sub '{"StartAt": "A", "States": ${Unknown}}'""",
    in_a_bucket="""
        Resources:
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties: {RoleArn: r, DefinitionS3Location: {Bucket: b, Key: k}}
        """,
    jsonata=TEXT
    % sub(
        {
            "QueryLanguage": "JSONata",
            "StartAt": "A",
            "States": {
                "A": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Arguments": {"FunctionName": "f", "Payload": "{% $states.input %}"},
                    "Output": "{% $states.result.Payload %}",
                    "Next": "B",
                },
                "B": {"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Next": "C"}], "Default": "C"},
                "C": {
                    "Type": "Parallel",
                    "Branches": [{"StartAt": "D", "States": {"D": {"Type": "Pass", "End": True}}}],
                    "End": True,
                },
            },
        }
    ),
    serverless=SAM % GOOD,
    left_to_cfn_lint=OBJECT % GOOD.replace("Succeed", "Sucess").replace("StartAt: A", "StartAt: Z"),
)
def test_a_definition_that_is_right_or_not_known_passes(template: str) -> None:
    assert findings(DefinitionRefused, template) == []


def test_a_fault_in_an_object_is_shown_at_its_state() -> None:
    text = textwrap.dedent("""\
        Resources:
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: r
              Definition:
                StartAt: A
                States:
                  A:
                    Type: Pass
                    Next: C
                  B:
                    Type: Succeed
        """)
    (found,) = matches(DefinitionRefused(), text)
    assert (found.linenumber, found.path[-2:]) == (9, ["States", "A"])


ISLAND = "{StartAt: A, States: {A: {Type: Succeed}, B: {Type: Pass, Next: C}, C: {Type: Pass, Next: B}}}"


@failing(
    states_that_only_reach_each_other=(OBJECT % ISLAND, "State \"B\" is not reachable from 'A' at /States/B"),
    in_a_text=(TEXT % sub({"StartAt": "A", "States": {"A": {"Type": "Fail"}, "B": {"Type": "Fail"}}}), '"B"'),
    in_a_branch=(
        OBJECT % f"{{StartAt: P, States: {{P: {{Type: Parallel, End: true, Branches: [{ISLAND}]}}}}}}",
        "/States/P/Branches/0/States/B",
    ),
    serverless=(SAM % ISLAND, '"B"'),
)
def test_a_state_that_nothing_reaches_is_found(template: str, message: str) -> None:
    assert message in findings(UnreachableState, template)[0]


@cases(
    by_default_and_catch=OBJECT
    % "{StartAt: A, States: {A: {Type: Choice, Choices: [{Next: C}], Default: B}, C: {Type: Fail},"
    " B: {Type: Task, Resource: x, Catch: [{Next: D}], End: true}, D: {Type: Fail}}}",
    a_transition_that_is_not_known=TEXT
    % sub({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "${Unknown}"}, "B": {"Type": "Succeed"}}}),
    a_start_that_is_not_known=TEXT % sub({"StartAt": "${Unknown}", "States": {"A": {"Type": "Fail"}}}),
)
def test_states_that_are_reached_or_may_be_pass(template: str) -> None:
    assert findings(UnreachableState, template) == []
