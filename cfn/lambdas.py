"""Common properties of all Lambda functions in the templates: trust policy, log group and log format."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Ref, Sub, awslambda

from cfn.settings import FunctionDefinition


class _LoggingConfig(awslambda.LoggingConfig):  # type: ignore[misc]
    # troposphere 4.11 takes the property's shape from another resource and knows neither of the two.
    props = {  # noqa: RUF012 - troposphere declares it so
        **awslambda.LoggingConfig.props,
        "LogFormat": (str, False),
        "SystemLogLevel": (str, False),
    }


def json_logging(log_group: Any) -> Any:
    """Logs as JSON, into a log group that the template made before the function: its retention holds from line one.

    Lambda's own lines around every invocation, which cost more than the function's own, are only written when something
    is wrong; their durations and memory are metrics anyway.
    """
    return _LoggingConfig(LogFormat="JSON", SystemLogLevel="WARN", LogGroup=Ref(log_group))


def lambda_trust_policy() -> dict[str, Any]:
    """Lambda may assume the role."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }


def write_logs_statement(log_group: Any) -> dict[str, Any]:
    """Writing into one log group. Creating groups is not allowed: the template makes them, with their retention."""
    return {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": GetAtt(log_group, "Arn"),
    }


def tracing_statements(function: FunctionDefinition) -> list[dict[str, Any]]:
    """Sending traces, if the function is traced. X-Ray's actions know no resource (service authorization reference)."""
    if not function.tracing:
        return []
    return [{"Effect": "Allow", "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "Resource": "*"}]


# What reads a secret of each kind, and its ARN; Secrets Manager adds six characters to a name.
_SECRETS = {
    "secretsmanager": (
        "secretsmanager:GetSecretValue",
        "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:%s-??????",
    ),
    "ssm": ("ssm:GetParameter", "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/%s"),
}
SECRET_KINDS = tuple(_SECRETS)


def secret_statements(function: FunctionDefinition) -> list[dict[str, Any]]:
    """Reading the function's secrets, each by its name. The template never has their values."""
    found = []
    for _, reference in function.secrets:
        kind, _, name = reference.partition(":")
        action, arn = _SECRETS[kind]
        found.append({"Effect": "Allow", "Action": [action], "Resource": Sub(arn % name.removeprefix("/"))})
    return found
