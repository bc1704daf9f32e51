"""The entrance ``http``: throttling, the access log and the alarm of the HTTP API of the entrance's function."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from troposphere import GetAtt, Ref, Template, apigatewayv2, cloudwatch, logs

from cfn.data import Data
from cfn.events.http import API
from cfn.functions import FunctionResources
from cfn.metric_alarms import metric_alarm
from cfn.names import Names
from cfn.settings import Settings
from cfn.workflow.state_machine import Workflow

# The logged properties of a request (API Gateway guide, "Customize HTTP API access logs"): not its body or path,
# which can hold whatever a caller mistook for an id.
_LOGGED = {
    "requestId": "$context.requestId",
    "requestTime": "$context.requestTime",
    "sourceIp": "$context.identity.sourceIp",
    "routeKey": "$context.routeKey",
    "status": "$context.status",
    "responseLength": "$context.responseLength",
    "responseLatency": "$context.responseLatency",
    "integrationStatus": "$context.integrationStatus",
    "error": "$context.error.messageString",
}
_IAM_CALLER = {"userArn": "$context.identity.userArn"}
# Of all claims only the one that names the caller.
_TOKEN_CALLER = {"subject": "$context.authorizer.claims.sub", "authorizerError": "$context.authorizer.error"}


def add_http(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],  # noqa: ARG001
    data: Data,  # noqa: ARG001
    workflow: Workflow,  # noqa: ARG001
    alarm_topic: Any,
) -> None:
    """Complete the stage that the routes of the entrance's function made."""
    policy = "Retain" if settings.protect_data else "Delete"
    log_group = template.add_resource(
        logs.LogGroup(
            f"{API}LogGroup",
            LogGroupName=names.api_log_group,
            RetentionInDays=settings.log_retention_days,
            DeletionPolicy=policy,
            UpdateReplacePolicy=policy,
        )
    )
    per_second = math.ceil(settings.transactions_per_minute / 60 * settings.burst)
    stage = template.resources[f"{API}Stage"]
    # What is over the load would only be throttled later, by Lambda, which API Gateway answers with 503 instead of 429.
    stage.DefaultRouteSettings = apigatewayv2.RouteSettings(
        ThrottlingRateLimit=per_second, ThrottlingBurstLimit=per_second, DetailedMetricsEnabled=False
    )
    caller = _IAM_CALLER if settings.jwt is None else _TOKEN_CALLER
    stage.AccessLogSettings = apigatewayv2.AccessLogSettings(
        DestinationArn=GetAtt(log_group, "Arn"), Format=json.dumps(_LOGGED | caller, separators=(",", ":"))
    )
    template.add_resource(
        metric_alarm(
            f"{API}Failures",
            f"{names.pipeline_stack}-api-5xx",
            AlarmActions=[alarm_topic],
            Namespace="AWS/ApiGateway",
            MetricName="5xx",
            Statistic="Sum",
            Dimensions=[cloudwatch.MetricDimension(Name="ApiId", Value=Ref(API))],
        )
    )
