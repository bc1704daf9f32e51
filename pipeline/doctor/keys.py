"""Check the encryption keys of topics: an alarm that cannot use the key fails silently."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok, unknown

# The actions that a publisher needs on the key of an encrypted topic (Amazon SNS developer guide, "Enable compatibility
# between event sources and encrypted topics").
PUBLISHING = ("kms:Decrypt", "kms:GenerateDataKey")
_ALARMS = "cloudwatch.amazonaws.com"


def check_topic_keys(situation: Situation) -> Verdict:
    """The key of every existing topic exists, is enabled, and allows the publisher.

    Alarms publish as the CloudWatch service, which needs a key policy; the workflow publishes as a role of this
    account, which alias/aws/sns allows.
    """
    publishing = {
        json.dumps(action)
        for _, _, properties in situation.resources("AWS::CloudWatch::Alarm")
        for action in properties.get("AlarmActions", [])
    }
    return combine(_judge(situation, publishing), "no topic exists yet; the stack creates their key")


def _judge(situation: Situation, publishing: set[str]) -> Iterator[Verdict]:
    for template, logical_id, properties in situation.resources("AWS::SNS::Topic"):
        arn = situation.stack(template).resources.get(logical_id)
        if arn is None:
            continue
        name = properties["TopicName"]
        alarms = json.dumps({"Ref": logical_id}) in publishing
        try:
            attributes = situation.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        except ClientError as problem:
            if error_code(problem) not in ("NotFound", "NotFoundException"):
                raise
            yield error(
                f"the topic {name} was deleted outside its stack",
                NextStep("Recreate it under the same name (aws sns create-topic), or deploy again", ("down",), ("up",)),
            )
            continue
        yield _judge_key(situation, name, attributes.get("KmsMasterKeyId"), alarms=alarms)


def _judge_key(situation: Situation, topic: str, key: str | None, *, alarms: bool) -> Verdict:
    kms = situation.client("kms")
    if not key and situation.target.is_local:
        return unknown("the embedded AWS does not store the key of a topic")
    if not key:
        return error(
            f"the topic {topic} is not encrypted: its key was removed outside the stack",
            f"Run aws sns set-topic-attributes --attribute-name KmsMasterKeyId with the ARN of {topic}.",
        )
    if key == "alias/aws/sns":
        if alarms:
            return error(
                f"alarms publish to {topic}, but its key alias/aws/sns does not allow CloudWatch",
                "Give the topic a customer managed key whose policy allows cloudwatch.amazonaws.com.",
            )
        return ok(f"{topic} has {key}")
    try:
        found = kms.describe_key(KeyId=key)["KeyMetadata"]
    except ClientError as problem:
        if error_code(problem) != "NotFoundException":
            raise
        return error(f"the key {key} of {topic} does not exist", "Set KmsMasterKeyId of the topic to an existing key.")
    if found["KeyState"] != "Enabled":
        return error(
            f"the key {key} of {topic} is {found['KeyState']}",
            f"aws kms cancel-key-deletion --key-id {key}, then aws kms enable-key --key-id {key}",
        )
    if alarms:
        policy = json.loads(kms.get_key_policy(KeyId=found["KeyId"], PolicyName="default")["Policy"])
        lacking = [action for action in PUBLISHING if not allows_service(policy, _ALARMS, action)]
        if lacking:
            return error(
                f"the key {key} of {topic} does not allow {_ALARMS} {', '.join(lacking)}, so alarms are lost",
                f"Restore its policy: aws kms put-key-policy --key-id {key} --policy-name default",
            )
    return ok(f"{topic} has the key {key}")


def allows_service(policy: Mapping[str, Any], service: str, action: str) -> bool:
    """Whether a resource policy allows a service an action and does not deny it unconditionally.

    Conditions of an Allow are taken as met.
    """
    allowed = False
    for statement in _many(policy.get("Statement", [])):
        principal = statement.get("Principal")
        services = _many(principal.get("Service", [])) if isinstance(principal, Mapping) else _many(principal)
        named = service in services or "*" in services
        if not named or not any(
            fnmatch.fnmatchcase(action.lower(), each.lower()) for each in _many(statement.get("Action", []))
        ):
            continue
        if statement["Effect"] == "Deny" and not statement.get("Condition"):
            return False
        allowed = allowed or statement["Effect"] == "Allow"
    return allowed


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
