"""The pipeline's data resources: the state table, the topics, the dead-letter queue and the key of fingerprints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from troposphere import GetAtt, Ref, Sub, Template, dynamodb, kms, secretsmanager, sns, sqs

from cfn.calls import ALERT_TOPIC, CUSTOMER, DEAD_LETTER_QUEUE, LEASES, STATE_TABLE
from cfn.events.kinds import FIFO_SUFFIX
from cfn.names import Names
from cfn.policies import policy_document
from cfn.settings import Settings
from cfn.workflow.limits import FINGERPRINT_KEY_CHARACTERS

DEAD_LETTER_SECONDS = 14 * 24 * 3600  # 1,209,600 s, the longest that SQS keeps a message


@dataclass(frozen=True, slots=True)
class Data:
    """The resources; ``Ref`` returns the table's name, the topic's ARN, the queue's URL and the secret's ARN."""

    table: Any
    alert_topic: Any
    dead_letter_queue: Any
    fingerprint_key: Any


def add_data(template: Template, settings: Settings, names: Names) -> Data:
    policy = "Retain" if settings.protect_data else "Delete"
    return Data(
        table=add_table(template, settings, names, policy),
        alert_topic=add_topic(template, ALERT_TOPIC, names.alert_topic),
        dead_letter_queue=add_queue(
            template, DEAD_LETTER_QUEUE, names.dead_letter_queue, policy, MessageRetentionPeriod=DEAD_LETTER_SECONDS
        ),
        fingerprint_key=add_fingerprint_key(template),
    )


def add_table(template: Template, settings: Settings, names: Names, policy: str) -> Any:
    keys = {"transaction_id": "S", "customer_id": "S", "occurred_at": "S"}
    indexes = [_index(CUSTOMER, "customer_id", "occurred_at", ProjectionType="KEYS_ONLY")]
    if settings.find_lost_claims:
        keys |= {"lease_shard": "S", "lease_until": "N"}
        # Running claims only: the shard is removed with the lease. What else parks a claim comes along.
        indexes.append(
            _index(
                LEASES,
                "lease_shard",
                "lease_until",
                ProjectionType="INCLUDE",
                NonKeyAttributes=["claim_token", "execution", "received_at"],
            )
        )
    return template.add_resource(
        dynamodb.Table(
            STATE_TABLE,
            TableName=names.table,
            BillingMode="PAY_PER_REQUEST",
            # Key attributes of the table and its indexes, and no other: DynamoDB refuses the rest.
            AttributeDefinitions=[
                dynamodb.AttributeDefinition(AttributeName=name, AttributeType=kind) for name, kind in keys.items()
            ],
            KeySchema=[dynamodb.KeySchema(AttributeName="transaction_id", KeyType="HASH")],
            GlobalSecondaryIndexes=indexes,
            TimeToLiveSpecification=dynamodb.TimeToLiveSpecification(AttributeName="expires_at", Enabled=True),
            PointInTimeRecoverySpecification=dynamodb.PointInTimeRecoverySpecification(PointInTimeRecoveryEnabled=True),
            SSESpecification=dynamodb.SSESpecification(SSEEnabled=True),
            DeletionProtectionEnabled=settings.protect_data,
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
            **({"TableClass": settings.table_class} if settings.table_class != "STANDARD" else {}),
        )
    )


def _index(name: str, partition: str, order: str, **projection: Any) -> Any:
    return dynamodb.GlobalSecondaryIndex(
        IndexName=name,
        KeySchema=[
            dynamodb.KeySchema(AttributeName=partition, KeyType="HASH"),
            dynamodb.KeySchema(AttributeName=order, KeyType="RANGE"),
        ],
        Projection=dynamodb.Projection(**projection),
    )


def add_fingerprint_key(template: Template) -> Any:
    """The secret that the fingerprints of what looks like card data are made with.

    It goes with its stack, also where the table stays: without it nothing can be tried against those fingerprints. It
    has no name, since CloudFormation would have to free it before another stack can use it.
    """
    return template.add_resource(
        secretsmanager.Secret(
            "FingerprintKey",
            Description="Key of the fingerprints of payloads that look like card data",
            GenerateSecretString=secretsmanager.GenerateSecretString(
                PasswordLength=FINGERPRINT_KEY_CHARACTERS, ExcludePunctuation=True
            ),
        )
    )


def add_topic(template: Template, logical_id: str, name: str) -> Any:
    """A topic for publishers of this account, whom the key alias/aws/sns admits; it takes nothing without TLS."""
    topic = template.add_resource(sns.Topic(logical_id, TopicName=name, KmsMasterKeyId="alias/aws/sns"))
    template.add_resource(
        sns.TopicPolicy(
            f"{logical_id}Policy",
            Topics=[Ref(topic)],
            PolicyDocument=policy_document(tls_only("sns:Publish", Ref(topic))),
        )
    )
    return topic


def add_alarm_topic(template: Template, names: Names) -> Any:
    """The topic that all alarms publish to, with a key of its own."""
    # A topic on alias/aws/sns takes nothing from alarms: that key's policy cannot admit CloudWatch. So the topic has a
    # key of its own (Amazon SNS guide, "Enable compatibility between event sources and encrypted topics").
    key = template.add_resource(
        kms.Key(
            "AlarmKey",
            Description=f"Encrypts {names.alarm_topic}",
            EnableKeyRotation=True,
            PendingWindowInDays=7,
            KeyPolicy={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AccountGrantsAccess",
                        "Effect": "Allow",
                        "Principal": {"AWS": Sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
                        "Action": "kms:*",
                        "Resource": "*",  # in a key's policy: this key
                    },
                    {
                        "Sid": "AlarmsPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                        "Resource": "*",  # in a key's policy: this key
                    },
                ],
            },
        )
    )
    template.add_resource(kms.Alias("AlarmKeyAlias", AliasName=f"alias/{names.alarm_topic}", TargetKeyId=Ref(key)))
    topic = template.add_resource(sns.Topic("AlarmTopic", TopicName=names.alarm_topic, KmsMasterKeyId=Ref(key)))
    template.add_resource(
        sns.TopicPolicy(
            "AlarmTopicPolicy",
            Topics=[Ref(topic)],
            PolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AlarmsPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": "sns:Publish",
                        "Resource": Ref(topic),
                        "Condition": {"StringEquals": {"aws:SourceAccount": Ref("AWS::AccountId")}},
                    },
                    tls_only("sns:Publish", Ref(topic)),
                ],
            },
        )
    )
    return topic


def add_queue(
    template: Template, logical_id: str, name: str, policy: str, *, fifo: bool = False, **properties: Any
) -> Any:
    """An encrypted queue that takes nothing without TLS.

    fifo  a FIFO queue for high throughput, with order and deduplication per message group (SQS developer guide, "High
          throughput for FIFO queues"); its name gets FIFO_SUFFIX
    """
    if fifo:
        name += FIFO_SUFFIX
        properties |= {
            "FifoQueue": True,
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
        }
    queue = template.add_resource(
        sqs.Queue(
            logical_id,
            QueueName=name,
            SqsManagedSseEnabled=True,
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
            **properties,
        )
    )
    template.add_resource(
        sqs.QueuePolicy(
            f"{logical_id}Policy",
            Queues=[Ref(queue)],
            PolicyDocument=policy_document(tls_only("sqs:*", GetAtt(queue, "Arn"))),
        )
    )
    return queue


def tls_only(action: str, resource: Any) -> dict[str, Any]:
    """Deny access without TLS.

    Except from loopback, from which no request to AWS comes, for an emulator on this host that uses HTTP.
    """
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": {
            "Bool": {"aws:SecureTransport": "false"},
            "NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"},
        },
    }
