"""A batch is permitted by the action of a single call."""

from __future__ import annotations

from typing import Any

from pipeline.local.emulator.patches.patch import Patch

SINGLE = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}


def _as_single(extract: Any, _module: Any) -> Any:
    def extract_iam_action(*call: Any, **named: Any) -> str | None:
        action: str | None = extract(*call, **named)
        return SINGLE.get(action, action) if action else action

    return extract_iam_action


BATCH_ACTIONS = (
    Patch(
        "core.iam_actions:extract_iam_action",
        "ec476b92d969822b",
        "asks for an action named after the batch call, which IAM does not have",
        "sns:Publish and sqs:SendMessage permit single calls and batches",
        "D SNS developer guide, API permissions; D SQS developer guide, API permissions",
        _as_single,
    ),
)
