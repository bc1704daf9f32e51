"""DynamoDB's expressions and requests, by the developer guide's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.verification.table.conditions import Names, ValidationError, condition
from pipeline.verification.table.requests import Refusal, run
from pipeline.verification.table.updates import update

ITEM = {
    "id": {"S": "a"},
    "n": {"N": "10"},
    "list": {"L": [{"S": "x"}, {"N": "2"}]},
    "map": {"M": {"inner": {"N": "1.50"}, "deep": {"M": {"x": {"BOOL": True}}}}},
    "tags": {"SS": ["b", "a"]},
    "none": {"NULL": True},
}
VALUES = {
    ":ten": {"N": "1E1"}, ":nine": {"N": "9"}, ":a": {"S": "a"}, ":b": {"S": "b"}, ":x": {"S": "x"},
    ":half": {"N": "1.5"}, ":N": {"S": "N"}, ":set": {"SS": ["a", "b"]}, ":true": {"BOOL": True}, ":text": {"S": "10"},
}  # fmt: skip


def holds(text: str) -> bool:
    used = {
        name: value
        for name, value in VALUES.items()
        if name in text.replace(",", " ").replace("(", " ").replace(")", " ").split()
    }
    names = Names({"#n": "n"} if "#n" in text else {}, used)
    found = condition(text, names)(ITEM)
    names.check_all_used()
    return found


@pytest.mark.parametrize(
    "text",
    [
        "n = :ten",
        "#n >= :nine AND n <> :nine",
        "NOT n < :nine",
        "id = :a OR id = :b AND n = :nine",  # AND binds closer
        "(id = :a OR id = :b) AND n = :ten",
        "n BETWEEN :nine AND :ten",
        "id IN (:b, :a)",
        "attribute_exists(map.inner)",
        "attribute_not_exists(map.other)",
        "attribute_type(n, :N)",
        "map.inner = :half",
        "map.deep.x = :true",
        "list[0] = :x",
        "begins_with(id, :a)",
        "contains(tags, :a)",
        "contains(list, :x)",
        "tags = :set",
        "size(id) < :nine",
        "n <> :text",
        "missing <> :a",
        "not_there <> :a and n = :ten",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    ["n < :nine", "missing = :a", "missing < :a", "NOT n = :ten", "n = :text", "n > :text", "begins_with(n, :N)",
     "contains(id, :b)", "list[7] = :x", "id BETWEEN :b AND :x", "attribute_exists(list[2])", "none = :a"],
)  # fmt: skip
def test_a_condition_that_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    "text",
    ["", "n =", "n == :ten", "n = :missing", "#missing = :ten", "unknown(n)", "n = :ten AND", "(n = :ten", "n = :ten)",
     "attribute_exists(:a)", "size(n) = :ten"],
)  # fmt: skip
def test_what_dynamodb_refuses(text: str) -> None:
    with pytest.raises(ValidationError):
        holds(text)


def updated(text: str, **values: Any) -> dict[str, Any]:
    return update(text, Names({}, {f":{name}": value for name, value in values.items()}))(ITEM)


def test_set_reads_the_item_as_it_was() -> None:
    after = updated(
        "SET n = n + :one, m = n, list[0] = list[1], map.inner = if_not_exists(map.other, id)", one={"N": "1"}
    )
    assert (after["n"], after["m"]) == ({"N": "11"}, {"N": "10"})
    assert after["list"] == {"L": [{"N": "2"}, {"N": "2"}]}
    assert after["map"]["M"]["inner"] == {"S": "a"}


def test_add_remove_delete_and_append() -> None:
    after = updated(
        "ADD n :one, fresh :one, tags :c REMOVE list[0], none SET map.all = list_append(list, :more)",
        one={"N": "0.5"}, c={"SS": ["c"]}, more={"L": [{"S": "z"}]},
    )  # fmt: skip
    assert (after["n"], after["fresh"], after["tags"]) == ({"N": "10.5"}, {"N": "0.5"}, {"SS": ["a", "b", "c"]})
    assert after["list"] == {"L": [{"N": "2"}]}
    assert "none" not in after
    assert after["map"]["M"]["all"] == {"L": [{"S": "x"}, {"N": "2"}, {"S": "z"}]}
    assert "tags" not in updated("DELETE tags :all", all={"SS": ["a", "b"]})


@pytest.mark.parametrize(
    "text", ["SET", "SET n = :v, n = :v", "SET map = :v, map.x = :v", "SET a.b.c = :v", "PUT n :v"]
)
def test_updates_that_dynamodb_refuses(text: str) -> None:
    with pytest.raises(ValidationError):
        updated(text, v={"N": "1"})


def request(action: str, table: Any, **arguments: Any) -> Any:
    return run(action, arguments, table, ("id",))


def test_requests_in_turn() -> None:
    key = {"id": {"S": "a"}}
    result, table = request(
        "updateItem", {}, Key=key, UpdateExpression="SET n = :n", ExpressionAttributeValues={":n": {"N": "1"}},
        ConditionExpression="attribute_not_exists(id)", ReturnValues="ALL_NEW",
    )  # fmt: skip
    assert result == {"Attributes": {"id": {"S": "a"}, "n": {"N": "1"}}}
    refused, same = request("putItem", table, Item=key, ConditionExpression="attribute_not_exists(id)")
    assert isinstance(refused, Refusal)
    assert (refused.error, same) == ("ConditionalCheckFailedException", table)
    assert request("getItem", table, Key=key)[0] == {"Item": {"id": {"S": "a"}, "n": {"N": "1"}}}
    assert request("deleteItem", table, Key=key)[1] == {}
    assert request("getItem", {}, Key=key)[0] == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"Key": {}},
        {"Key": {"id": {"S": ""}}},
        {"Key": {"id": "a"}},
        {"Key": {"id": {"S": "a"}}, "ExpressionAttributeValues": {":unused": {"S": "a"}}},
        {"Key": {"id": {"S": "a"}}, "UpdateExpression": "SET id = :v", "ExpressionAttributeValues": {":v": {"S": "b"}}},
        {"Key": {"id": {"S": "a"}}, "UpdateExpression": "SET n = :v", "ExpressionAttributeValues": {":v": {"N": 1}}},
    ],
)
def test_requests_that_dynamodb_refuses(arguments: Any) -> None:
    refused, table = request("updateItem", {}, **arguments)
    assert isinstance(refused, Refusal)
    assert (refused.error, table) == ("ValidationException", {})
