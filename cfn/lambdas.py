"""Common properties of all Lambda functions in the templates: trust policy, log group and log format."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Ref, awslambda


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
