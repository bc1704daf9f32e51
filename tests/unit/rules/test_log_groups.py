from __future__ import annotations

from cfn.rules import FunctionWithoutLogGroup, LogGroupAfterFunction, LogGroupByNameOnly, LogGroupWithoutRetention
from tests.unit.rules.linting import cases, failing, findings

TEMPLATE = """
        Parameters: {Name: {Type: String}}
        Resources:
          F:
            Type: AWS::Lambda::Function
            Properties: {Role: r, Code: {ZipFile: x}%s}
"""
GROUP = """
          Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 30%s}}
"""
NAMED = ", FunctionName: fraud"
LOGGING = ", LoggingConfig: {LogGroup: %s}"
DEPENDS = "            DependsOn: Logs\n"


@failing(
    no_group=(TEMPLATE % "", "F has no log group in this template"),
    a_group_of_another_function=(TEMPLATE % NAMED + GROUP % ", LogGroupName: /aws/lambda/other", "F has no log group"),
    serverless=(
        "        Transform: AWS::Serverless-2016-10-31\n        Resources: {F: {Type: AWS::Serverless::Function}}",
        "F has no log group",
    ),
)
def test_a_function_without_log_group_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(FunctionWithoutLogGroup, template)] == [True]


@cases(
    logging_config=TEMPLATE % (LOGGING % "!Ref Logs") + GROUP % "",
    logging_config_by_name=TEMPLATE % (LOGGING % "shared-logs"),
    by_reference_to_the_function=TEMPLATE % "" + GROUP % ", LogGroupName: !Sub '/aws/lambda/${F}'",
    by_join=TEMPLATE % "" + GROUP % ", LogGroupName: !Join ['/', [/aws/lambda, !Ref F]]",
    by_name=TEMPLATE % NAMED + GROUP % ", LogGroupName: /aws/lambda/fraud",
    a_group_whose_name_is_not_known=TEMPLATE % NAMED + GROUP % ", LogGroupName: !Ref Name",
    retention_by_the_cdk=TEMPLATE % ""
    + "          R: {Type: 'Custom::LogRetention', Properties: {LogGroupName: !Sub '/aws/lambda/${F}'}}",
    from_globals="""
        Transform: AWS::Serverless-2016-10-31
        Globals: {Function: {LoggingConfig: {LogGroup: !Ref Logs}}}
        Resources: {F: {Type: AWS::Serverless::Function}, Logs: {Type: AWS::Logs::LogGroup}}
        """,
)
def test_a_function_with_a_log_group_passes(template: str) -> None:
    assert findings(FunctionWithoutLogGroup, template) == []


@failing(
    the_group_refers_to_the_function=(
        TEMPLATE % "" + GROUP % ", LogGroupName: !Sub '/aws/lambda/${F}'",
        "Logs is not created before F and refers to it",
    ),
    by_name_without_order=(
        TEMPLATE % NAMED + GROUP % ", LogGroupName: /aws/lambda/fraud",
        "Logs is not created before F",
    ),
    logging_config_by_name=(
        TEMPLATE % (LOGGING % "fraud-logs") + GROUP % ", LogGroupName: fraud-logs",
        "Logs is not created before F",
    ),
    only_under_a_condition=(
        "        Conditions: {IsDev: !Equals [!Ref Name, dev]}"
        + TEMPLATE % ", LoggingConfig: !If [IsDev, !Ref 'AWS::NoValue', {LogGroup: !Ref Logs}]"
        + GROUP % ", LogGroupName: !Sub '/aws/lambda/${F}'",
        "(when IsDev is true)",
    ),
)
def test_a_group_that_is_not_made_first_is_found(template: str, message: str) -> None:
    if "IsDev" in template:
        template = template.replace("!Sub '/aws/lambda/${F}'", "!If [IsDev, !Sub '/aws/lambda/${F}', logs]")
    assert [message in found for found in findings(LogGroupAfterFunction, template)] == [True]


@cases(
    referred_to=TEMPLATE % (LOGGING % "!Ref Logs") + GROUP % ", LogGroupName: fraud",
    depended_on=TEMPLATE % NAMED + DEPENDS + GROUP % ", LogGroupName: /aws/lambda/fraud",
    through_the_role=(TEMPLATE % NAMED).replace("Role: r", "Role: !GetAtt R.Arn")
    + GROUP % ", LogGroupName: /aws/lambda/fraud"
    + "          R: {Type: AWS::IAM::Role, Properties: {Description: !GetAtt Logs.Arn}}",
    somebody_elses_group=TEMPLATE % NAMED + GROUP % ", LogGroupName: /aws/ecs/cluster",
)
def test_a_group_that_is_made_first_passes(template: str) -> None:
    assert findings(LogGroupAfterFunction, template) == []


def test_a_group_used_by_its_default_name_is_found() -> None:
    template = TEMPLATE % NAMED + DEPENDS + GROUP % ", LogGroupName: /aws/lambda/fraud"
    assert findings(LogGroupByNameOnly, template) == ["The LoggingConfig of F does not name Logs"]


@cases(
    logging_config=TEMPLATE % (NAMED + LOGGING % "!Ref Logs") + GROUP % ", LogGroupName: /aws/lambda/fraud",
    no_group=TEMPLATE % NAMED,
    not_even_ordered=TEMPLATE % NAMED + GROUP % ", LogGroupName: /aws/lambda/fraud",
)
def test_a_group_that_logging_config_names_passes(template: str) -> None:
    assert findings(LogGroupByNameOnly, template) == []


@failing(
    not_set=("Resources: {Logs: {Type: AWS::Logs::LogGroup}}", "Logs has no RetentionInDays"),
    removed=(
        """
        Parameters: {Days: {Type: Number, Default: 0}}
        Conditions: {Keep: !Equals [!Ref Days, 0]}
        Resources:
          Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: !If [Keep, !Ref AWS::NoValue, !Ref Days]}}
        """,
        "(when Keep is true)",
    ),
)
def test_a_group_without_retention_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(LogGroupWithoutRetention, template)] == [True]


@cases(
    set="Resources: {Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 30}}}",
    by_parameter="Parameters: {Days: {Type: Number}}\n"
    "Resources: {Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: !Ref Days}}}",
    a_class_of_its_own="Resources: {Logs: {Type: AWS::Logs::LogGroup, Properties: {LogGroupClass: DELIVERY}}}",
)
def test_a_group_with_retention_passes(template: str) -> None:
    assert findings(LogGroupWithoutRetention, template) == []
