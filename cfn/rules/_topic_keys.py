"""Keys of topics and queues that do not exist or do not allow the publisher."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ._policies import action_matches
from ._template import Finding, Resource, TemplateRule, View, as_dict, as_list, is_known, text

TOPIC = "AWS::SNS::Topic"
_KEY = "AWS::KMS::Key"
_KEYS = (_KEY, "AWS::KMS::ReplicaKey", "AWS::KMS::Alias", "AWS::KMS::ExternalKey")
_MANAGED = {TOPIC: "alias/aws/sns", "AWS::SQS::Queue": "alias/aws/sqs"}
_KEY_ID = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}|arn:[^:]+:kms:[^:]+:\d{12}:(key|alias)/.+"
    r"|alias/[\w/-]+"
)
_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
_PUBLISHERS = {
    "AWS::CloudWatch::Alarm": "cloudwatch.amazonaws.com",
    "AWS::CloudWatch::CompositeAlarm": "cloudwatch.amazonaws.com",
    "AWS::Events::Rule": "events.amazonaws.com",
}
_SOURCE = "https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html"


class KeyUnknown(TemplateRule):
    id = "E9590"
    shortdesc = "An invalid key of a topic or queue"
    description = (
        "KmsMasterKeyId is an alias (alias/…), a key id or an ARN. AWS owns the names under alias/aws/, one for each "
        "service; any other fails with 'InvalidParameter: Invalid keyId'."
    )
    source_url = _SOURCE
    tags = ("resources", "sns", "sqs", "kms")
    concerns = (*_MANAGED, "AWS::KMS::*")

    def find(self, view: View) -> Iterator[Finding]:
        for resource in view.resources(*_MANAGED):
            fault = _fault(view, text(resource.get("KmsMasterKeyId")), _MANAGED[resource.type])
            if fault:
                yield Finding(resource.at("KmsMasterKeyId"), fault)


def _fault(view: View, key: str, managed: str) -> str | None:
    target = view.target(key)
    if target:
        is_key = target.type in _KEYS or target.type.startswith(("Custom::", "AWS::CloudFormation::"))
        return None if is_key else f"{target.id} is not a key, but a {target.type}"
    alias = "alias/" + key.partition("alias/")[2] if "alias/" in key else ""
    if alias.startswith("alias/aws/") and alias != managed and is_known(alias):
        return f"There is no key {alias}: the AWS-managed key is {managed}"
    if key and is_known(key) and not _KEY_ID.fullmatch(key):
        cure = f": write alias/{key}" if re.fullmatch(r"[\w/-]+", key) else ""
        return f"{key!r} is neither a key id, nor an alias, nor an ARN{cure}"
    return None


def _published(view: View, publisher: Resource) -> Iterator[tuple[Resource, list[str | int]]]:
    """Yield (topic, path) for each topic in the template that an alarm or a rule publishes to."""
    for name in _ACTIONS:
        for value in as_list(publisher.get(name)):
            topic = view.target(value, TOPIC)
            if topic:
                yield topic, publisher.at(name)
    for target in as_list(publisher.get("Targets")):
        topic = view.target(as_dict(target).get("Arn"), TOPIC)
        if topic:
            yield topic, publisher.at("Targets")


class PublisherCannotUseManagedKey(TemplateRule):
    id = "E9591"
    shortdesc = "An alarm or event rule that publishes to a topic on alias/aws/sns"
    description = (
        "The policy of the AWS-managed key cannot be changed and allows no other service: CloudWatch alarms and "
        "EventBridge rules fail silently to publish to a topic with this key. Use a customer-managed key that allows "
        "the service kms:Decrypt and kms:GenerateDataKey*."
    )
    source_url = _SOURCE
    tags = ("resources", "sns", "kms", "cloudwatch")
    concerns = (TOPIC, *_PUBLISHERS)

    def find(self, view: View) -> Iterator[Finding]:
        for publisher in view.resources(*_PUBLISHERS):
            for topic, path in _published(view, publisher):
                if text(topic.get("KmsMasterKeyId")).endswith("alias/aws/sns"):
                    service = _PUBLISHERS[publisher.type]
                    message = f"{publisher.id} cannot publish to {topic.id}: alias/aws/sns does not allow {service}"
                    yield Finding(path, message)


class PublisherNotAllowedByKey(TemplateRule):
    id = "E9592"
    shortdesc = "An alarm or event rule that publishes to a topic whose key does not allow it"
    description = (
        "The key's policy in the template does not allow the publishing service kms:Decrypt and kms:GenerateDataKey*, "
        "so its messages are lost."
    )
    source_url = _SOURCE
    tags = ("resources", "sns", "kms", "cloudwatch")
    concerns = (TOPIC, "AWS::KMS::*", *_PUBLISHERS)

    def find(self, view: View) -> Iterator[Finding]:
        for publisher in view.resources(*_PUBLISHERS):
            service = _PUBLISHERS[publisher.type]
            for topic, path in _published(view, publisher):
                key = _key_of(view, topic.get("KmsMasterKeyId"))
                missing = [a for a in ("Decrypt", "GenerateDataKey") if key and not _admits(key, service, f"kms:{a}")]
                if key and missing and view.is_complete:
                    lacking = " and ".join(f"kms:{action}" for action in missing)
                    yield Finding(path, f"{key.id}, the key of {topic.id}, does not allow {service} {lacking}")


def _key_of(view: View, value: Any) -> Resource | None:
    alias = view.named(value, "AliasName", "AWS::KMS::Alias")
    return view.target(alias.get("TargetKeyId") if alias else value, _KEY)


def _admits(key: Resource, service: str, action: str) -> bool:
    """Whether the key policy may allow a service an action; True if unknown."""
    policy = key.get("KeyPolicy")
    if policy is not None and not isinstance(policy, dict):
        return True
    for statement in as_list(as_dict(policy).get("Statement")):
        if not isinstance(statement, dict):
            return True
        if text(statement.get("Effect")) != "Allow":
            continue
        principal = statement.get("Principal")
        principals = as_list(principal)
        if isinstance(principal, dict):
            principals = as_list(principal.get("Service")) + [p for p in as_list(principal.get("AWS")) if p == "*"]
        is_for = any(text(p) in (service, "*") or not is_known(p) for p in principals) or "NotPrincipal" in statement
        actions = [text(a) for a in as_list(statement.get("Action"))]
        if is_for and ("NotAction" in statement or any(not is_known(a) or action_matches(a, action) for a in actions)):
            return True
    return False
