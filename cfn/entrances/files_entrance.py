"""The entrance ``files``: an object in a bucket is a file of transactions, one a line.

An object in the folder ``incoming`` starts the STANDARD state machine ``cfn/workflow/file-entrance.asl.json``, whose
Distributed Map submits each line to the pipeline's EXPRESS state machine; results go to the folder ``results``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from troposphere import GetAtt, Output, Ref, Sub, Tags, Template, cloudwatch, events, iam, s3

from cfn.data import Data, tls_only
from cfn.entrances.outputs import FILES_BUCKET, FILES_MACHINE, FILES_STATE_MACHINE
from cfn.events.pushed import EMPTIED
from cfn.functions import FunctionResources
from cfn.metric_alarms import metric_alarm
from cfn.names import Names
from cfn.policies import allow, policy_document, trust_of_this_account
from cfn.settings import Settings
from cfn.workflow.composition import definition_text, file_entrance
from cfn.workflow.limits import (
    FILE_BATCH,
    FILE_SECONDS,
    FILES_INCOMING,
    FILES_RESULTS,
    FILES_SUBMITTED,
)
from cfn.workflow.state_machine import Workflow, add_machine

# Longer than an execution can be redriven, which is 14 days (Step Functions guide, Redriving executions).
FILE_DAYS, RESULT_DAYS = 30, 90


def add_files(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],  # noqa: ARG001 - of the interface of an entrance
    data: Data,  # noqa: ARG001 - of the interface of an entrance
    workflow: Workflow,
    alarm_topic: Any,
) -> None:
    """Add the bucket, the state machine, the rule that starts it, and the alarms."""
    bucket = _add_bucket(template, settings)
    machine = _add_machine(template, settings, names, bucket, workflow)
    rule = _add_rule(template, settings, bucket, machine)
    for logical_id, metric, namespace, dimension in (
        ("FilesFailed", "ExecutionsFailed", "AWS/States", ("StateMachineArn", machine)),
        ("FilesAborted", "ExecutionsAborted", "AWS/States", ("StateMachineArn", machine)),
        ("FilesNotStarted", "FailedInvocations", "AWS/Events", ("RuleName", rule)),
    ):
        template.add_resource(
            metric_alarm(
                logical_id,
                f"{names.files_state_machine}-{metric.lower()}",
                AlarmActions=[alarm_topic],
                Namespace=namespace,
                MetricName=metric,
                Statistic="Sum",
                Dimensions=[cloudwatch.MetricDimension(Name=dimension[0], Value=Ref(dimension[1]))],
            )
        )
    template.add_output(Output(FILES_BUCKET, Value=Ref(bucket)))
    template.add_output(Output(FILES_STATE_MACHINE, Value=Ref(machine)))


def concurrency(settings: Settings) -> int:
    """Batches at the same time: together they submit ``transactions_per_minute``, and leave the burst to others."""
    return max(1, math.ceil(settings.transactions_per_minute / 60 * FILE_SECONDS / FILE_BATCH))


def _add_bucket(template: Template, settings: Settings) -> Any:
    policy = "Retain" if settings.protect_data else "Delete"
    bucket = template.add_resource(
        s3.Bucket(
            "FilesBucket",
            # Without a name of its own: one that was kept does not stop the next environment of this name.
            BucketEncryption=s3.BucketEncryption(
                ServerSideEncryptionConfiguration=[
                    s3.ServerSideEncryptionRule(
                        ServerSideEncryptionByDefault=s3.ServerSideEncryptionByDefault(SSEAlgorithm="AES256")
                    )
                ]
            ),
            LifecycleConfiguration=s3.LifecycleConfiguration(
                Rules=[
                    s3.LifecycleRule(Id=folder, Prefix=f"{folder}/", Status="Enabled", ExpirationInDays=days)
                    for folder, days in (
                        (FILES_INCOMING, FILE_DAYS),
                        (FILES_SUBMITTED, FILE_DAYS),
                        (FILES_RESULTS, RESULT_DAYS),
                    )
                ]
                + [
                    s3.LifecycleRule(
                        Id="uploads",
                        Prefix="",
                        Status="Enabled",
                        AbortIncompleteMultipartUpload=s3.AbortIncompleteMultipartUpload(DaysAfterInitiation=1),
                    )
                ]
            ),
            NotificationConfiguration=s3.NotificationConfiguration(
                EventBridgeConfiguration=s3.EventBridgeConfiguration(EventBridgeEnabled=True)
            ),
            OwnershipControls=s3.OwnershipControls(
                Rules=[s3.OwnershipControlsRule(ObjectOwnership="BucketOwnerEnforced")]
            ),
            PublicAccessBlockConfiguration=s3.PublicAccessBlockConfiguration(
                BlockPublicAcls=True, BlockPublicPolicy=True, IgnorePublicAcls=True, RestrictPublicBuckets=True
            ),
            Metadata={EMPTIED: True},
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
        )
    )
    template.add_resource(
        s3.BucketPolicy(
            f"{bucket.title}Policy",
            Bucket=Ref(bucket),
            PolicyDocument=policy_document(tls_only("s3:*", [GetAtt(bucket, "Arn"), _objects(bucket)])),
        )
    )
    return bucket


def _add_machine(template: Template, settings: Settings, names: Names, bucket: Any, workflow: Workflow) -> Any:
    own = names.files_state_machine
    return add_machine(
        template,
        names,
        settings,
        kind="STANDARD",
        text=definition_text(file_entrance(concurrency=concurrency(settings))),
        substitutions={"StateMachine": Ref(workflow.state_machine)},
        statements=[
            allow(["states:StartSyncExecution"], Ref(workflow.state_machine)),
            # A Map Run starts, stops and redrives its children as the machine itself (Step Functions guide, IAM
            # policies for using Distributed Map states). By name: a reference would close a circle.
            allow(["states:StartExecution"], _states_arn(f"stateMachine:{own}")),
            allow(["states:DescribeExecution", "states:StopExecution"], _states_arn(f"execution:{own}:*")),
            allow(["states:RedriveExecution"], _states_arn(f"execution:{own}/*")),
            allow(["states:DescribeMapRun"], _states_arn(f"mapRun:{own}/*")),
            allow(["s3:GetObject"], _objects(bucket)),
            allow(
                ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"],
                _objects(bucket, f"{FILES_RESULTS}/"),
            ),
        ],
        logical_id=FILES_MACHINE,
        name=own,
    ).state_machine


def _add_rule(template: Template, settings: Settings, bucket: Any, machine: Any) -> Any:
    role = template.add_resource(
        iam.Role(
            "FilesRuleRole",
            AssumeRolePolicyDocument=trust_of_this_account("events"),
            Policies=[
                iam.Policy(
                    PolicyName="start", PolicyDocument=policy_document(allow(["states:StartExecution"], Ref(machine)))
                )
            ],
            Tags=Tags(**dict(settings.tags)),
        )
    )
    return template.add_resource(
        events.Rule(
            "FilesRule",
            EventPattern={
                "source": ["aws.s3"],
                "detail-type": ["Object Created"],
                "detail": {
                    "bucket": {"name": [Ref(bucket)]},
                    "object": {"key": [{"prefix": f"{FILES_INCOMING}/"}]},
                },
            },
            Targets=[events.Target(Arn=Ref(machine), Id="files", RoleArn=GetAtt(role, "Arn"))],
        )
    )


def _objects(bucket: Any, prefix: str = "") -> Any:
    return Sub(f"${{{bucket.title}.Arn}}/{prefix}*")


def _states_arn(resource: str) -> Any:
    return Sub("arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:" + resource)
