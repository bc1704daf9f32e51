"""How a new version takes over: at once, or step by step through CodeDeploy with the error alarm as the stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import GetAtt, Ref, Sub, Template, codedeploy, iam
from troposphere.policies import CodeDeployLambdaAliasUpdate, UpdatePolicy

from cfn.alarms import error_alarm
from cfn.functions import FunctionResources
from cfn.names import Names, pascal_case
from cfn.settings import Settings
from cfn.validation import ALL_AT_ONCE


def add_shifting(
    template: Template, settings: Settings, names: Names, functions: Mapping[str, FunctionResources]
) -> None:
    """Let CodeDeploy move the alias of each function. Adds nothing for ``AllAtOnce``.

    A function's error alarm stops the shift and moves the alias back, and with it the stack update fails and is rolled
    back by CloudFormation. The alarms must be in the template already.
    """
    if settings.release == ALL_AT_ONCE or not functions:
        return
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
                                        Sub("${Arn}:*", Arn=GetAtt(each.function, "Arn")),
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
        group = template.add_resource(_deployment_group(settings, name, application, role))
        each.alias.UpdatePolicy = UpdatePolicy(
            CodeDeployLambdaAliasUpdate=CodeDeployLambdaAliasUpdate(
                ApplicationName=Ref(application), DeploymentGroupName=Ref(group)
            )
        )


def _deployment_group(settings: Settings, function: str, application: Any, role: Any) -> Any:
    return codedeploy.DeploymentGroup(
        f"{pascal_case(function)}Release",
        ApplicationName=Ref(application),
        ServiceRoleArn=GetAtt(role, "Arn"),
        DeploymentConfigName=f"CodeDeployDefault.{settings.release}",
        DeploymentStyle=codedeploy.DeploymentStyle(
            DeploymentType="BLUE_GREEN", DeploymentOption="WITH_TRAFFIC_CONTROL"
        ),
        AlarmConfiguration=codedeploy.AlarmConfiguration(
            Enabled=True, Alarms=[codedeploy.Alarm(Name=Ref(error_alarm(function)))]
        ),
        AutoRollbackConfiguration=codedeploy.AutoRollbackConfiguration(
            Enabled=True, Events=["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]
        ),
    )
