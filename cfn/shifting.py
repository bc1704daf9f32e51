"""How a new version takes over: at once, or step by step through CodeDeploy, which an alarm stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Equals, GetAtt, If, NoValue, Parameter, Ref, Sub, Template, cloudwatch, codedeploy, iam
from troposphere.policies import CodeDeployLambdaAliasUpdate

from cfn.functions import FunctionResources
from cfn.metric_alarms import metric_alarm
from cfn.names import LIVE_ALIAS, SHIFT_TRAFFIC, Names, pascal_case
from cfn.settings import Settings
from cfn.validation import ALL_AT_ONCE

_SHIFTS = "ShiftsTraffic"


def add_shifting(
    template: Template, settings: Settings, names: Names, functions: Mapping[str, FunctionResources]
) -> None:
    """Let CodeDeploy move the alias of each function. Adds nothing for ``AllAtOnce``.

    Errors of the new version behind the alias stop the shift and move the alias back; the stack update then fails and
    CloudFormation rolls it back. Errors of the version that is live do not, or they would block their own fix.

    The parameter ShiftTraffic disables shifting for one update: traffic moves at once away from placeholders and from a
    version that does not work.
    """
    if settings.release == ALL_AT_ONCE or not functions:
        return
    template.add_parameter(
        Parameter(
            SHIFT_TRAFFIC,
            Type="String",
            Default="true",
            AllowedValues=["true", "false"],
            Description="Whether new versions take over step by step. false: at once",
        )
    )
    template.add_condition(_SHIFTS, Equals(Ref(SHIFT_TRAFFIC), "true"))
    application = template.add_resource(
        codedeploy.Application("Releases", ApplicationName=names.pipeline_stack, ComputePlatform="Lambda")
    )
    role = template.add_resource(
        iam.Role(
            "ReleaseRole",
            AssumeRolePolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "codedeploy.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            Policies=[
                iam.Policy(
                    PolicyName="move-aliases",
                    PolicyDocument={
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": [
                                    "lambda:GetAlias",
                                    "lambda:GetProvisionedConcurrencyConfig",
                                    "lambda:UpdateAlias",
                                ],
                                "Resource": [
                                    arn
                                    for each in functions.values()
                                    for arn in (
                                        GetAtt(each.function, "Arn"),
                                        Sub(f"${{{each.function.title}.Arn}}:*"),
                                    )
                                ],
                            },
                            # Describing alarms knows no resource (service authorization reference, CloudWatch).
                            {"Effect": "Allow", "Action": "cloudwatch:DescribeAlarms", "Resource": "*"},
                        ],
                    },
                )
            ],
        )
    )
    for name, each in functions.items():
        # The alias's policy refers to the group and that to the alarm, so the alarm watches the new version first.
        alarm = template.add_resource(_stop_alarm(names, name, each))
        group = template.add_resource(_deployment_group(settings, name, application, role, alarm))
        update = CodeDeployLambdaAliasUpdate(ApplicationName=Ref(application), DeploymentGroupName=Ref(group))
        each.alias.resource["UpdatePolicy"] = {
            # Without the policy CloudFormation moves the alias itself.
            "CodeDeployLambdaAliasUpdate": If(_SHIFTS, update, NoValue)
        }


def _stop_alarm(names: Names, function: str, resources: FunctionResources) -> Any:
    """Errors of the version that takes over, in what the alias sends to it (Lambda guide, "Viewing function metrics":
    the dimensions of an alias that splits its traffic). CodeDeploy acts on it; the function's other alarm notifies."""
    name = names.function(function)
    return metric_alarm(
        f"{pascal_case(function)}NewVersionErrors",
        f"{name}-new-version-errors",
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Statistic="Sum",
        Dimensions=[
            cloudwatch.MetricDimension(Name="FunctionName", Value=Ref(resources.function)),
            cloudwatch.MetricDimension(Name="Resource", Value=f"{name}:{LIVE_ALIAS}"),
            cloudwatch.MetricDimension(Name="ExecutedVersion", Value=GetAtt(resources.version, "Version")),
        ],
    )


def _deployment_group(settings: Settings, function: str, application: Any, role: Any, alarm: Any) -> Any:
    return codedeploy.DeploymentGroup(
        f"{pascal_case(function)}Release",
        ApplicationName=Ref(application),
        ServiceRoleArn=GetAtt(role, "Arn"),
        DeploymentConfigName=f"CodeDeployDefault.{settings.release}",
        DeploymentStyle=codedeploy.DeploymentStyle(
            DeploymentType="BLUE_GREEN", DeploymentOption="WITH_TRAFFIC_CONTROL"
        ),
        AlarmConfiguration=codedeploy.AlarmConfiguration(Enabled=True, Alarms=[codedeploy.Alarm(Name=Ref(alarm))]),
        AutoRollbackConfiguration=codedeploy.AutoRollbackConfiguration(
            Enabled=True, Events=["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]
        ),
    )
