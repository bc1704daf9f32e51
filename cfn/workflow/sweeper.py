"""The sweeper: a schedule that starts a state machine, which parks the claims of lost executions. No function.

``settings.find_lost_claims`` asks for it, since the index that it reads costs two writes per transaction.
"""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Ref, Template, iam, scheduler

from cfn.names import Names
from cfn.policies import allow, policy_document, trust_of_this_account
from cfn.settings import EXPRESS, Settings
from cfn.workflow.composition import definition_text, sweeper_definition
from cfn.workflow.state_machine import add_machine, call_statements

SWEEPER = "Sweeper"
SWEEP_MINUTES = 5


def add_sweeper(template: Template, names: Names, settings: Settings, table: Any) -> Any:
    """Add the schedule and the state machine, which is returned. table: with the index of leases."""
    states = sweeper_definition()
    sweeper = add_machine(
        template,
        names,
        settings,
        logical_id=SWEEPER,
        name=names.sweeper,
        kind=EXPRESS,
        text=definition_text(states),
        substitutions={"Table": Ref(table)},
        statements=call_statements(states, {"dynamodb": GetAtt(table, "Arn")}),
    )
    role = template.add_resource(
        iam.Role(
            f"{SWEEPER}ScheduleRole",
            AssumeRolePolicyDocument=trust_of_this_account("scheduler"),
            Policies=[
                iam.Policy(
                    PolicyName="start",
                    PolicyDocument=policy_document(allow(["states:StartExecution"], Ref(sweeper.state_machine))),
                )
            ],
        )
    )
    template.add_resource(
        scheduler.Schedule(
            f"{SWEEPER}Schedule",
            Name=names.sweeper,
            ScheduleExpression=f"rate({SWEEP_MINUTES} minutes)",
            FlexibleTimeWindow=scheduler.FlexibleTimeWindow(Mode="OFF"),
            Target=scheduler.Target(
                Arn=Ref(sweeper.state_machine),
                RoleArn=GetAtt(role, "Arn"),
                # The next sweep does what a late one would.
                RetryPolicy=scheduler.RetryPolicy(MaximumEventAgeInSeconds=SWEEP_MINUTES * 60, MaximumRetryAttempts=2),
            ),
        )
    )
    return sweeper.state_machine
