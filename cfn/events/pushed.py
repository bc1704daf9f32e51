"""What services send to a function asynchronously: schedules, buckets, topics and event rules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from troposphere import GetAtt, Ref, Sub, Template, awslambda, events, iam, s3, scheduler, sns

from cfn.data import add_topic, tls_only
from cfn.events.kinds import Bucket, Rule, Schedule, Topic
from cfn.events.polled import arn_value
from cfn.names import UNNAMED, Names, pascal_case
from cfn.policies import allow, policy_document, trust_of_this_account
from cfn.settings import FunctionDefinition


def add_permission(template: Template, logical_id: str, alias: Any, service: str, **source: Any) -> Any:
    """Let a service invoke the alias."""
    return template.add_resource(
        awslambda.Permission(
            logical_id,
            Action="lambda:InvokeFunction",
            FunctionName=Ref(alias),
            Principal=f"{service}.amazonaws.com",
            **source,
        )
    )


def add_schedule(
    template: Template, names: Names, function: FunctionDefinition, number: int, event: Schedule, alias: Any
) -> None:
    stem = pascal_case(function.name)
    role_id = f"{stem}ScheduleRole"
    if role_id not in template.resources:
        template.add_resource(
            iam.Role(
                role_id,
                AssumeRolePolicyDocument=trust_of_this_account("scheduler"),
                Policies=[
                    iam.Policy(
                        PolicyName="invoke",
                        PolicyDocument=policy_document(allow(["lambda:InvokeFunction"], Ref(alias))),
                    )
                ],
            )
        )
    template.add_resource(
        scheduler.Schedule(
            f"{stem}Event{number}",
            Name=f"{names.function(function.name)}-{number}",
            ScheduleExpression=event.expression,
            ScheduleExpressionTimezone=event.timezone,
            FlexibleTimeWindow=scheduler.FlexibleTimeWindow(Mode="OFF"),
            Target=scheduler.Target(
                Arn=Ref(alias), RoleArn=GetAtt(role_id, "Arn"), Input=json.dumps(event.input, sort_keys=True)
            ),
        )
    )


def add_subscription(
    template: Template, names: Names, function: FunctionDefinition, number: int, event: Topic, alias: Any
) -> None:
    """Subscribe the function to a topic, its own if the event names none."""
    stem = pascal_case(function.name)
    arn: Any = arn_value(event.topic) or Ref(add_topic(template, f"{stem}Topic", names.function(function.name)))
    add_permission(template, f"{stem}Event{number}Permission", alias, "sns", SourceArn=arn)
    template.add_resource(
        sns.SubscriptionResource(
            f"{stem}Event{number}",
            TopicArn=arn,
            Protocol="lambda",
            Endpoint=Ref(alias),
            **({"FilterPolicy": event.filter} if event.filter else {}),
        )
    )


def add_rule(template: Template, function: FunctionDefinition, number: int, event: Rule, alias: Any) -> None:
    stem = pascal_case(function.name)
    rule = template.add_resource(
        events.Rule(
            f"{stem}Event{number}",
            EventBusName=event.bus,
            EventPattern=event.pattern,
            Targets=[events.Target(Arn=Ref(alias), Id="function")],
        )
    )
    add_permission(template, f"{stem}Event{number}Permission", alias, "events", SourceArn=GetAtt(rule, "Arn"))


# Of a bucket that `down` empties before its stack is deleted.
EMPTIED = "EmptiedOnDeletion"


def bucket_id(name: str) -> str:
    return f"{pascal_case(name)}Bucket"


def bucket_name(names: Names, name: str) -> Any:
    """Names of buckets are unique in a partition, so the account and the region are part of it."""
    prefix = f"{names.project or UNNAMED}-{name}-{names.environment}"
    return Sub(prefix + "-${AWS::AccountId}-${AWS::Region}")


def add_bucket(
    template: Template,
    names: Names,
    name: str,
    listeners: Iterable[tuple[FunctionDefinition, int, Bucket, Any]],
    policy: str,
) -> None:
    """Add a bucket that tells ``listeners``, each a function with the number of its event, the event and its alias."""
    configurations, permissions = [], []
    for function, number, event, alias in listeners:
        permission = add_permission(
            template,
            f"{pascal_case(function.name)}Event{number}Permission",
            alias,
            "s3",
            # By name: the bucket refers to the function, so a reference to it would close a circle. A bucket of this
            # name can belong to another account later, which the account's id rules out.
            SourceArn=Sub("arn:${AWS::Partition}:s3:::" + bucket_name(names, name).data["Fn::Sub"]),
            SourceAccount=Ref("AWS::AccountId"),
        )
        permissions.append(permission.title)
        rules = [
            s3.Rules(Name=kind, Value=value)
            for kind, value in (("prefix", event.prefix), ("suffix", event.suffix))
            if value
        ]
        configurations += [
            s3.LambdaConfigurations(
                Event=f"s3:{each}",
                Function=Ref(alias),
                **({"Filter": s3.Filter(S3Key=s3.S3Key(Rules=rules))} if rules else {}),
            )
            for each in event.on
        ]
    bucket = template.add_resource(
        s3.Bucket(
            bucket_id(name),
            BucketName=bucket_name(names, name),
            NotificationConfiguration=s3.NotificationConfiguration(LambdaConfigurations=configurations),
            PublicAccessBlockConfiguration=s3.PublicAccessBlockConfiguration(
                BlockPublicAcls=True, BlockPublicPolicy=True, IgnorePublicAcls=True, RestrictPublicBuckets=True
            ),
            Metadata={EMPTIED: True},
            # S3 asks Lambda whether it may, when the notification is set.
            DependsOn=permissions,
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
        )
    )
    objects = [GetAtt(bucket, "Arn"), Sub(f"${{{bucket.title}.Arn}}/*")]
    template.add_resource(
        s3.BucketPolicy(
            f"{bucket.title}Policy",
            Bucket=Ref(bucket),
            PolicyDocument=policy_document(tls_only("s3:*", objects)),
        )
    )
