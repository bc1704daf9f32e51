"""The sweeper asks the table for exactly what ``redrive --lost`` asks, so that one proof holds for both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfn.calls import LEASES
from cfn.pipeline import pipeline_template
from cfn.settings import Settings
from cfn.workflow.composition import sweeper_definition, tasks
from cfn.workflow.limits import GRACE_SECONDS, LEASE_SHARDS
from cfn.workflow.sweeper import SWEEP_MINUTES
from pipeline.transactions import lost
from pipeline.verification.language.expressions import Language
from pipeline.verification.language.interned import Values
from pipeline.verification.language.machine import Machine, read_machine
from pipeline.verification.proof import verify
from tests.unit.cfn.examples import FUNCTIONS

NOW = 1_800_000_000_123
TOKEN = "sweep@9e2a"
CLAIM = {
    "transaction_id": {"S": "t-1"},
    "claim_token": {"S": "u@2027"},
    "lease_until": {"N": "1799999900000"},
    "execution": {"S": "submit-1:u"},
    "received_at": {"S": "2027-01-15T07:50:00.000Z"},
}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return read_machine(sweeper_definition())


def arguments(machine: Machine, state: str, given: Any) -> Any:
    """What a Task of the sweeper asks for, with ``given`` as its input."""
    values = Values()
    roots = {
        "input": values.add(given),
        "clock": values.add(NOW),
        "context.Execution.Id": values.add(f"arn:aws:states:r:1:express:sweeper:name:{TOKEN.partition('@')[2]}"),
    }
    return values[Language(values).fill(machine.states[state]["Arguments"], roots)]


def with_message(request: dict[str, Any]) -> dict[str, Any]:
    """A request whose message is read: how its JSON is spaced does not matter."""
    item = request["Item"]
    return {**request, "Item": {**item, "message": json.loads(item["message"]["S"])}}


def test_a_claim_is_taken_and_given_back_as_redrive_does(machine: Machine) -> None:
    assert arguments(machine, "Take", CLAIM) == lost.take("${Table}", CLAIM, TOKEN, NOW)
    assert arguments(machine, "GiveBack", CLAIM) == lost.give_back("${Table}", CLAIM, TOKEN, NOW)


def test_the_note_is_that_of_redrive(machine: Machine) -> None:
    assert with_message(arguments(machine, "Note", CLAIM)) == with_message(lost.note("${Table}", CLAIM, NOW))


def test_every_shard_is_searched_for_leases_that_are_over(machine: Machine) -> None:
    values = Values()
    shards = values[Language(values).fill(machine.states["Sweep"]["Items"], {})]
    assert shards == list(range(LEASE_SHARDS))
    query = arguments(machine, "Find", 3)
    assert query["IndexName"] == LEASES
    assert query["ExpressionAttributeValues"] == {
        ":shard": {"S": "3"}, ":one": {"N": "1"}, ":before": {"N": str(NOW - GRACE_SECONDS * 1000)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        ([[], []], {"parked": 0, "failed": 0}),
        ([["parked"]], {"parked": 1, "failed": 0}),
        ([["parked", "kept"], [], ["failed"], ["parked", "parked"]], {"parked": 3, "failed": 1}),
    ],
)
def test_what_became_of_the_claims_is_counted(machine: Machine, ends: list[list[str]], counted: dict[str, int]) -> None:
    values = Values()
    assert values[Language(values).fill(machine.states["Sweep"]["Output"], {"result": values.add(ends)})] == counted


def test_no_state_is_unreachable_and_nothing_stays_uncaught() -> None:
    proof = verify(sweeper_definition())
    assert proof.refuted == []
    assert [finding for finding in proof.findings if finding.rule != "no default"] == []
    assert proof.longest.seconds < 300


def test_a_schedule_starts_it_and_its_silence_is_an_alarm() -> None:
    resources = pipeline_template(Settings("dev", find_lost_claims=True), FUNCTIONS).to_dict()["Resources"]
    schedule = resources["SweeperSchedule"]["Properties"]
    assert (schedule["ScheduleExpression"], schedule["Target"]["Arn"]) == ("rate(5 minutes)", {"Ref": "Sweeper"})
    alarm = resources["LostClaimsNotSwept"]["Properties"]
    assert (alarm["Period"], alarm["ComparisonOperator"]) == (SWEEP_MINUTES * 60, "LessThanThreshold")
    assert alarm["InsufficientDataActions"] == alarm.get("AlarmActions", alarm["InsufficientDataActions"])
    statements = resources["SweeperRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    allowed = {action for each in statements for action in each["Action"] if not action.startswith("logs:")}
    assert allowed == {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"}
    assert len(list(tasks(sweeper_definition()))) == 4


def test_the_shards_of_the_index_carry_the_peak_of_the_default_load() -> None:
    settings = Settings("dev")
    writes = 2 * settings.transactions_per_minute * settings.burst / 60
    assert writes / LEASE_SHARDS < 1_000 / 2  # shards are not hit evenly in every second


def test_without_the_setting_there_is_neither_index_nor_sweeper() -> None:
    resources = pipeline_template(Settings("dev"), FUNCTIONS).to_dict()["Resources"]
    assert not [name for name in resources if name.startswith(("Sweeper", "LostClaims"))]
    assert [each["IndexName"] for each in resources["StateTable"]["Properties"]["GlobalSecondaryIndexes"]] == [
        "customer"
    ]
