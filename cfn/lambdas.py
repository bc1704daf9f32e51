"""What every Lambda function of the templates has alike: its trust, its log group and the form of its logs."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Ref, awslambda


class _LoggingConfig(awslambda.LoggingConfig):  # type: ignore[misc]
    # troposphere 4.11 takes the property's shape from another resource and knows no LogFormat.
    props = {**awslambda.LoggingConfig.props, "LogFormat": (str, False)}  # noqa: RUF012 - troposphere declares it so


def json_logging(log_group: Any) -> Any:
    """Logs as JSON, into a log group that the template made before the function: its retention holds from line one."""
    return _LoggingConfig(LogFormat="JSON", LogGroup=Ref(log_group))


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
