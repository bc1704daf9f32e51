"""Stack 2: functions with the images of its parameters or the placeholders of stack 1, and their infrastructure."""

from __future__ import annotations

from collections.abc import Sequence

from troposphere import Output, Ref

from cfn.alarms import add_alarms, add_subscriptions, add_sweeper_alarm
from cfn.dashboard import add_dashboard
from cfn.data import add_alarm_topic, add_data
from cfn.entrances.entrance_functions import as_set
from cfn.entrances.entrance_wiring import add_entrances
from cfn.events.wiring import add_events
from cfn.functions import add_functions, add_roles
from cfn.names import pascal_case
from cfn.network import add_network
from cfn.own_resources import own_document, resolve_own
from cfn.settings import FunctionDefinition, Settings
from cfn.shifting import add_shifting
from cfn.template import OpenTemplate
from cfn.validation import check_functions, check_settings
from cfn.workflow.own_machine import add_own_workflow
from cfn.workflow.state_machine import add_workflow
from cfn.workflow.sweeper import add_sweeper


def pipeline_template(settings: Settings, functions: Sequence[FunctionDefinition]) -> OpenTemplate:
    """The pipeline stack of one environment: the transaction pipeline, or functions with or without an own workflow.

    Without the transaction pipeline there is no table, and a network only for functions that ask for one.

    Raises SettingsError, with all findings, for settings or functions that cannot be deployed.
    """
    check_settings(settings)
    functions = as_set(settings, resolve_own(settings, functions))
    check_functions(settings, functions)
    functions = sorted(functions, key=lambda function: function.name)  # whatever order they were found in
    names = settings.names
    template = OpenTemplate(
        Description=f"Transaction pipeline {settings.environment}: workflow, functions, data, network."
        if settings.has_transactions
        else f"Functions of {settings.project} {settings.environment}."
    )
    template.set_version("2010-09-09")
    data = add_data(template, settings, names) if settings.has_transactions else None
    roles = add_roles(template, settings, names, functions)
    network = add_network(template, settings, names, functions, outliving=[role.role.title for role in roles.values()])
    resources = add_functions(
        template, settings, names, functions, roles=roles, network=network, table=data.table if data else None
    )
    alarm_topic = settings.alarm_topic or Ref(add_alarm_topic(template, names))
    add_subscriptions(template, "Alarm", alarm_topic, settings.alarm_subscriptions)
    outputs = {"AlarmTopicArn": alarm_topic}
    workflow = None
    if data is not None:
        workflow = add_workflow(
            template,
            names,
            settings,
            functions={name: each.target for name, each in resources.items()},
            table=data.table,
            alert_topic=data.alert_topic,
            dead_letter_queue=data.dead_letter_queue,
            fingerprint_key=data.fingerprint_key,
        )
        outputs |= {
            "StateMachineArn": Ref(workflow.state_machine),
            "StateTableName": Ref(data.table),
            "DeadLetterQueueUrl": Ref(data.dead_letter_queue),
            "AlertTopicArn": Ref(data.alert_topic),
        }
        if settings.find_lost_claims:
            sweeper = add_sweeper(template, names, settings, data.table)
            add_sweeper_alarm(template, names, sweeper, alarm_topic)
            outputs["SweeperArn"] = Ref(sweeper)
        add_subscriptions(template, "Alert", Ref(data.alert_topic), settings.alert_subscriptions)
        if settings.has_dashboard:
            add_dashboard(template, names, resources, workflow)
    add_alarms(template, settings, names, functions=resources, data=data, workflow=workflow, topic=alarm_topic)
    add_events(
        template,
        settings,
        names,
        {name: (each.definition, each.alias) for name, each in resources.items()},
        alarm_topic=alarm_topic,
    )
    if data is not None and workflow is not None:
        add_entrances(
            template, settings, names, functions=resources, data=data, workflow=workflow, alarm_topic=alarm_topic
        )
    if settings.own_workflow is not None:
        own = add_own_workflow(
            template, names, settings, settings.own_workflow, functions=resources, alarm_topic=alarm_topic
        )
        outputs["StateMachineArn"] = Ref(own.state_machine)
    add_shifting(template, settings, names, resources)
    if network is not None and network.vpc is not None:
        outputs |= {"VpcId": network.vpc, "FunctionsSecurityGroupId": network.security_groups[0]}
    for name, each in resources.items():
        outputs[f"{pascal_case(name)}FunctionName"] = Ref(each.function)
        outputs[f"{pascal_case(name)}ImageDigest"] = each.digest
    for key, value in outputs.items():
        template.add_output(Output(key, Value=value))
    template.own = own_document(settings)
    return template
