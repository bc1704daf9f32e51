"""A table of ``resources.yaml`` is deployed, written to by a function, changed, and deleted with the environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

TABLE = """
Resources:
  Orders:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub "shop-orders-${AWS::Region}"
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
Outputs:
  OrdersName:
    Value: !Ref Orders
"""
HANDLER = """
import os

import boto3

def handle(event, context):
    table = boto3.resource("dynamodb").Table(os.environ["TABLE"])
    table.put_item(Item={"id": event["id"]})
    return "kept"
"""


@pytest.fixture(scope="module")
def shop(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("shop"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "shop"\n')
    project.write("resources.yaml", TABLE)
    lock = (ROOT / "tests" / "packages" / "with-boto3" / "requirements.txt").read_text()
    project.write("images/order/requirements.in", "boto3\n")
    project.write("images/order/requirements.txt", lock)
    project.write("images/order/handler.py", HANDLER)
    calls = '[[calls]]\nservice = "dynamodb"\nactions = ["PutItem"]\nresource = "Orders"\n'
    variables = '[environment]\nTABLE = "${Orders}"\n'
    project.write("images/order/function.toml", f'handler = "handler.handle"\n{variables}{calls}')
    project.run("up")
    yield project
    project.run("down", code=(0, 1))


def test_a_function_writes_to_its_table_with_the_permission_of_its_call(shop: Project) -> None:
    assert shop.invoke("order", {"id": "order-1"}) == "kept"
    items = shop.aws.client("dynamodb").scan(TableName="shop-orders-us-east-1")["Items"]
    assert items == [{"id": {"S": "order-1"}}]


def test_a_change_is_planned_and_deployed(shop: Project) -> None:
    queue = "  Later:\n    Type: AWS::SQS::Queue\nOutputs:"
    shop.write("resources.yaml", TABLE.replace("Outputs:", queue))
    planned = shop.json("plan", code=2)
    changed = [each for stack in planned["stacks"] for each in stack["resources"]]
    assert [(each["logical_id"], each["action"]) for each in changed] == [("Later", "Add")]
    assert shop.json("up")["changed"]


def test_a_conflict_is_found_and_changes_nothing(shop: Project) -> None:
    shop.write("resources.yaml", TABLE.replace("  Orders:\n", "  AlarmTopic:\n"))
    assert shop.json("plan", code=1)["what"] in ("the templates cannot be made", "resources.yaml cannot be used")
    shop.write("resources.yaml", TABLE)


def test_it_goes_with_the_environment(shop: Project) -> None:
    shop.run("down")
    assert "shop-orders-us-east-1" not in shop.aws.client("dynamodb").list_tables()["TableNames"]
