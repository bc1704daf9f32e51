"""Who may assume the roles of the templates."""

from __future__ import annotations

from dataclasses import replace

from cfn.settings import Entrance
from tests.unit.cfn.examples import DEV, FULL, FUNCTIONS, of_type, pipeline

# Services that act for whoever names the role: without a condition, for other accounts, too.
FOR_OTHERS = {"events.amazonaws.com", "scheduler.amazonaws.com", "states.amazonaws.com"}


def test_a_service_that_acts_for_others_assumes_a_role_for_this_account_only() -> None:
    settings = replace(DEV, find_lost_claims=True, entrances=(Entrance.FILES,))
    trusts = [
        statement
        for role in of_type(pipeline(settings, (*FUNCTIONS, FULL)), "AWS::IAM::Role").values()
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        if statement["Principal"]["Service"] in FOR_OTHERS
    ]
    assert {each["Principal"]["Service"] for each in trusts} == FOR_OTHERS
    for each in trusts:
        assert each["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
