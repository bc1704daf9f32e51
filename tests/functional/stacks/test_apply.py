"""Stacks on the embedded AWS: create, update, no change, failure, continued rollback, import, delete."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import Any

import pytest

from cfn.render import TEMPLATE_BODY_MAX
from pipeline.core.errors import StackError
from pipeline.core.events import Event, Note, ResourceChanged
from pipeline.stacks import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    ExistingResource,
    NoChange,
    ReplaceFailed,
    StackFailed,
    StackStatus,
    Update,
    apply_stack,
    delete_keeping,
    delete_stack,
    describe_change,
    find_existing,
    missing_images,
    plan_stack,
    read_failures,
    read_stack,
)
from pipeline.stacks.plan import REVIEW_PATIENCE
from pipeline.stacks.templates_bucket import upload_template
from tests.functional.conftest import EmbeddedAws
from tests.functional.stack_templates import (
    Provider,
    decide,
    history,
    log_group,
    parameter,
    table,
    template,
    up,
    wanted,
)


@pytest.fixture
def cfn(embedded_aws: EmbeddedAws) -> Any:
    return embedded_aws.client("cloudformation")


@pytest.fixture
def name() -> str:
    return f"stack-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def provider(embedded_aws: EmbeddedAws, name: str) -> Provider:
    return Provider(embedded_aws.client("lambda"), embedded_aws.client("iam"), f"{name}-provider")


def taken(embedded_aws: EmbeddedAws, name: str) -> None:
    """An SSM parameter that exists outside the stack."""
    embedded_aws.client("ssm").put_parameter(Name=name, Type="String", Value="theirs")


def test_a_creation_gives_the_outputs_and_reports_each_resource(cfn: Any, name: str) -> None:
    events: list[Event] = []
    outputs = up(cfn, wanted(name), events)
    assert outputs.changed
    assert outputs["QueueUrl"].startswith("http")
    seen = [(event.logical_id, event.status) for event in events if isinstance(event, ResourceChanged)]
    assert ("Queue", "CREATE_COMPLETE") in seen
    assert seen[-1] == (name, "CREATE_COMPLETE")


def test_a_missing_output_is_named_with_the_existing_ones(cfn: Any, name: str) -> None:
    outputs = up(cfn, wanted(name))
    with pytest.raises(StackError, match=r"has no such output; it has: QueueUrl"):
        outputs["Nonsense"]


def test_an_update_switches_a_parameter(cfn: Any, name: str) -> None:
    up(cfn, wanted(name))
    outputs = up(cfn, wanted(name, parameters={"Seconds": "30"}))
    assert outputs.changed
    assert read_stack(cfn, name).parameters == {"Seconds": "30"}


def test_no_change_is_decided_from_the_state(cfn: Any, name: str) -> None:
    up(cfn, wanted(name, tags={"team": "risk"}))
    plan = decide(cfn, wanted(name, tags={"team": "risk"}))
    assert isinstance(plan, NoChange)
    outputs = apply_stack(cfn, plan)
    assert not outputs.changed
    assert outputs["QueueUrl"].startswith("http")


def test_an_equal_template_in_another_layout_is_no_change(cfn: Any, name: str) -> None:
    up(cfn, wanted(name))
    body = json.dumps(template(), indent=2, sort_keys=True)
    assert isinstance(decide(cfn, wanted(name, body=body)), NoChange)


def test_a_template_changed_elsewhere_is_noticed(cfn: Any, name: str) -> None:
    up(cfn, wanted(name))
    cfn.update_stack(StackName=name, TemplateBody=json.dumps(template(Other={"Type": "AWS::SQS::Queue"})))
    cfn.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    assert isinstance(decide(cfn, wanted(name)), Update)


def test_a_failed_creation_names_its_first_cause(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    taken(embedded_aws, f"{name}-taken")
    with pytest.raises(StackFailed) as caught:
        up(cfn, wanted(name, body=template(Thing=parameter(f"{name}-taken"))))
    failure = caught.value.failures[0]
    assert (failure.logical_id, failure.resource_type) == ("Thing", "AWS::SSM::Parameter")
    assert "already exists" in caught.value.why
    assert caught.value.status is StackStatus.ROLLBACK_COMPLETE
    assert caught.value.next_step.text


def test_a_failed_creation_is_replaced_by_the_next_run(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    taken(embedded_aws, f"{name}-taken")
    body = template(Thing=parameter(f"{name}-taken"))
    with pytest.raises(StackFailed):
        up(cfn, wanted(name, body=body))
    assert isinstance(decide(cfn, wanted(name, body=body)), ReplaceFailed)
    embedded_aws.client("ssm").delete_parameter(Name=f"{name}-taken")
    events: list[Event] = []
    assert up(cfn, wanted(name, body=body), events).changed
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE
    notes = " ".join(event.text for event in events if isinstance(event, Note))
    assert "already exists" in notes, "why it had failed is told before its story is deleted"


def test_a_failed_update_keeps_the_previous_version(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    up(cfn, wanted(name, parameters={"Seconds": "30"}))
    taken(embedded_aws, f"{name}-taken")
    with pytest.raises(StackFailed) as caught:
        up(cfn, wanted(name, body=template(Thing=parameter(f"{name}-taken")), parameters={"Seconds": "60"}))
    assert caught.value.status is StackStatus.UPDATE_ROLLBACK_COMPLETE
    assert caught.value.next_step.text.startswith("The previous version is still running.")
    after = read_stack(cfn, name)
    assert after.parameters == {"Seconds": "30"}
    assert isinstance(plan_stack(after, wanted(name, parameters={"Seconds": "30"})), NoChange)
    assert read_failures(cfn, after.stack_id)[0].logical_id == "Thing"


def test_a_change_is_described_and_nothing_is_left_behind(cfn: Any, name: str) -> None:
    up(cfn, wanted(name))
    before = cfn.list_change_sets(StackName=name)["Summaries"]
    more = template(Other={"Type": "AWS::SQS::Queue"})
    changes = describe_change(cfn, decide(cfn, wanted(name, body=more, parameters={"Seconds": "30"})))
    shown = {change.logical_id: change for change in changes}
    assert shown["Other"].action == "Add"
    (changed,) = shown["Queue"].properties
    assert (changed.path, changed.before, changed.after) == ("Properties.VisibilityTimeout", "1", "30")
    assert not shown["Queue"].destructive
    assert cfn.list_change_sets(StackName=name)["Summaries"] == before
    assert read_stack(cfn, name).parameters == {"Seconds": "1"}


def test_a_replacement_is_destructive(cfn: Any, name: str) -> None:
    up(cfn, wanted(name, body=template(Table=table(f"{name}-a"))))
    (change,) = describe_change(cfn, decide(cfn, wanted(name, body=template(Table=table(f"{name}-b")))))
    assert (change.logical_id, change.replacement, change.destructive) == ("Table", "True", True)
    assert any(each.recreates == "Always" for each in change.properties)


def test_a_creation_is_previewed_without_a_call(cfn: Any, name: str) -> None:
    plan = decide(cfn, wanted(name))
    assert isinstance(plan, Create)
    assert [(each.logical_id, each.action) for each in describe_change(cfn, plan)] == [("Queue", "Add")]
    assert read_stack(cfn, name).status is StackStatus.ABSENT


def test_a_validated_creation_leaves_no_empty_stack(cfn: Any, name: str) -> None:
    changes = describe_change(cfn, decide(cfn, wanted(name)), validate=True)
    assert [(each.logical_id, each.action) for each in changes] == [("Queue", "Add")]
    assert read_stack(cfn, name).status.gone


def test_a_stack_left_in_review_is_taken_over(cfn: Any, name: str) -> None:
    cfn.create_change_set(
        StackName=name, ChangeSetName="transaction-pipeline-killed", ChangeSetType="CREATE",
        TemplateBody=json.dumps(template()),
    )  # fmt: skip
    state = read_stack(cfn, name)
    assert state.status is StackStatus.REVIEW_IN_PROGRESS
    assert state.change_sets[0].age < REVIEW_PATIENCE
    plan = CleanUpReview(wanted(name), state)
    assert apply_stack(cfn, plan).changed
    assert [each["Status"] for each in cfn.list_change_sets(StackName=name)["Summaries"]] == ["CREATE_COMPLETE"]


def test_an_empty_change_set_is_no_change(cfn: Any, name: str) -> None:
    """A template with an SSM parameter is compared by CloudFormation, which reports no change."""
    body = template()
    body["Metadata"] = {"Note": "{{resolve:ssm:/nothing}}"}
    up(cfn, wanted(name, body=body))
    plan = decide(cfn, wanted(name, body=body))
    assert isinstance(plan, Update)
    assert plan.only_cloudformation_knows
    outputs = apply_stack(cfn, plan)
    assert not outputs.changed
    assert outputs["QueueUrl"].startswith("http")
    statuses = {each["Status"] for each in cfn.list_change_sets(StackName=name)["Summaries"]}
    assert "FAILED" not in statuses


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_resources_kept_by_a_deleted_stack_are_imported(
    embedded_aws: EmbeddedAws, cfn: Any, name: str, policy: str
) -> None:
    body = template(Table=table(f"{name}-table", DeletionPolicy=policy))
    up(cfn, wanted(name, body=body))
    assert delete_keeping(cfn, name, ["Table"])
    existing = find_existing(embedded_aws.client, json.dumps(body))
    assert existing == (ExistingResource("Table", "AWS::DynamoDB::Table", {"TableName": f"{name}-table"}),)
    plan = decide(cfn, wanted(name, body=body, existing=existing))
    assert isinstance(plan, Adopt)
    actions = {each.logical_id: each.action for each in describe_change(cfn, plan)}
    assert actions == {"Queue": "Add", "Table": "Import"}
    assert apply_stack(cfn, plan).changed
    resources = cfn.describe_stack_resources(StackName=name)["StackResources"]
    assert f"{name}-table" in [each["PhysicalResourceId"] for each in resources]
    assert isinstance(decide(cfn, wanted(name, body=body)), NoChange)


def test_a_kept_queue_is_imported_by_its_url_with_its_messages(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    """Its identifier is read-only, so CloudFormation cannot adopt it by its name."""
    properties = {"QueueName": name, "Tags": [{"Key": "of", "Value": {"Ref": "AWS::StackName"}}]}
    queue = {"Type": "AWS::SQS::Queue", "DeletionPolicy": "Retain", "Properties": properties}
    body = template(Queue=queue, Log=log_group(name, DeletionPolicy="Retain"))
    url = up(cfn, wanted(name, body=body))["QueueUrl"]
    embedded_aws.client("sqs").send_message(QueueUrl=url, MessageBody="parked")
    assert delete_stack(cfn, name)
    existing = find_existing(embedded_aws.client, json.dumps(body))
    assert [each.identifier for each in existing] == [{"QueueUrl": url}, {"LogGroupName": name}]
    with_tags = wanted(name, body=body, existing=existing, tags={"made-by": "test"})
    assert apply_stack(cfn, decide(cfn, with_tags))["QueueUrl"] == url
    assert [*history(cfn, name)][:3] == ["REVIEW_IN_PROGRESS", "IMPORT_IN_PROGRESS", "IMPORT_COMPLETE"]
    [message] = embedded_aws.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == "parked"
    assert isinstance(decide(cfn, with_tags), NoChange)


def test_what_was_imported_outlives_a_failure_after_it(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}
    embedded_aws.client("sqs").create_queue(QueueName=name)
    taken = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": f"{name}-taken"}}
    embedded_aws.client("sns").create_topic(Name=f"{name}-taken")
    body = template(Queue=queue, Taken=taken)
    existing = find_existing(embedded_aws.client, json.dumps(body))
    with pytest.raises(StackFailed, match="already exists"):
        apply_stack(cfn, decide(cfn, wanted(name, body=body, existing=existing)))
    assert read_stack(cfn, name).status is StackStatus.UPDATE_ROLLBACK_COMPLETE
    assert embedded_aws.client("sqs").get_queue_url(QueueName=name)
    up(cfn, wanted(name, body=template(Queue=queue)))
    assert read_stack(cfn, name).status is StackStatus.UPDATE_COMPLETE


def test_a_deletion_keeps_the_resources_to_retain(embedded_aws: EmbeddedAws, cfn: Any, name: str) -> None:
    up(cfn, wanted(name, body=template(Table=table(f"{name}-table"))))
    assert delete_keeping(cfn, name, ["Table"])
    assert embedded_aws.client("dynamodb").describe_table(TableName=f"{name}-table")
    assert read_stack(cfn, name).status is StackStatus.ABSENT


def test_a_deletion_keeps_resources_of_a_template_that_is_too_large_for_a_request(
    embedded_aws: EmbeddedAws, cfn: Any, name: str
) -> None:
    body = template(Table=table(f"{name}-table")) | {"Metadata": {"Note": "x" * TEMPLATE_BODY_MAX}}
    upload = partial(upload_template, embedded_aws.client)
    apply_stack(cfn, decide(cfn, wanted(name, body=body)), upload=upload)
    assert delete_keeping(cfn, name, ["Table"], upload=upload)
    assert embedded_aws.client("dynamodb").describe_table(TableName=f"{name}-table")
    assert read_stack(cfn, name).status is StackStatus.ABSENT


def test_a_missing_stack_needs_no_deletion(cfn: Any, name: str) -> None:
    assert not delete_stack(cfn, name)


def test_a_protected_stack_is_not_deleted(cfn: Any, name: str) -> None:
    up(cfn, wanted(name))
    cfn.update_termination_protection(StackName=name, EnableTerminationProtection=True)
    with pytest.raises(StackError, match="termination protection is enabled"):
        delete_stack(cfn, name)
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE


def test_a_failed_rollback_is_continued_once_its_cause_is_fixed(cfn: Any, name: str, provider: Provider) -> None:
    image = "000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud@sha256:" + "5" * 64
    up(cfn, wanted(name, body=template(Thing=provider.resource("first"))))
    provider.fail(f"Source image {image} does not exist. Provide a valid source image.")
    with pytest.raises(StackFailed) as caught:
        up(cfn, wanted(name, body=template(Thing=provider.resource("second"))))
    assert caught.value.status is StackStatus.UPDATE_ROLLBACK_FAILED
    assert [str(each) for each in missing_images(caught.value.failures)] == [image]

    with pytest.raises(StackFailed, match=r"was not rolled back") as again:
        up(cfn, wanted(name, body=template(Thing=provider.resource("second"))))
    assert image in str(again.value.next_step)

    provider.succeed()
    assert isinstance(decide(cfn, wanted(name)), ContinueRollback)
    assert up(cfn, wanted(name, body=template(Thing=provider.resource("second")))).changed
    assert read_stack(cfn, name).status is StackStatus.UPDATE_COMPLETE


def test_a_failed_deletion_names_its_cause_and_continues_once_it_is_fixed(
    cfn: Any, name: str, provider: Provider
) -> None:
    body = template(Thing=provider.resource("first"))
    up(cfn, wanted(name, body=body))
    provider.fail("it is still needed", deleting=True)
    with pytest.raises(StackFailed, match=r"Thing \(Custom::Thing\): .*it is still needed") as caught:
        delete_stack(cfn, name)
    assert caught.value.status is StackStatus.DELETE_FAILED
    assert list(history(cfn, name)).count("DELETE_FAILED") == 3, "what holds it may let go a little later"

    assert isinstance(decide(cfn, wanted(name)), ReplaceFailed)
    provider.succeed()
    assert up(cfn, wanted(name)).changed
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE


def test_resources_whose_deletion_failed_can_be_kept(cfn: Any, name: str, provider: Provider) -> None:
    up(cfn, wanted(name, body=template(Thing=provider.resource("first"))))
    provider.fail("it is still needed", deleting=True)
    with pytest.raises(StackFailed):
        delete_stack(cfn, name)
    assert delete_keeping(cfn, name, ["Thing"])
    assert read_stack(cfn, name).status.gone


def test_a_failing_custom_resource_is_reported_with_its_reason(cfn: Any, name: str, provider: Provider) -> None:
    provider.fail("the registry said no")
    with pytest.raises(StackFailed, match=r"Thing \(Custom::Thing\): .*the registry said no"):
        up(cfn, wanted(name, body=template(Thing=provider.resource("first"))))
