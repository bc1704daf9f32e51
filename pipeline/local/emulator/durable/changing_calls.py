"""Which API calls change something that is saved with the state of its service.

Calls that only read change nothing. Items of DynamoDB and messages of SQS are journalled. Invocations and executions
keep nothing, and log events and metrics are saved at a regular stop.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from pipeline.local.emulator.signatures import Request

_READS = (
    "BatchCheck", "BatchGet", "Check", "Decrypt", "Describe", "Detect", "Encrypt", "Estimate", "Filter",
    "GenerateDataKey", "Get", "Head", "List", "Lookup", "Query", "ReEncrypt", "Scan", "Select", "Sign", "Simulate",
    "Test", "Validate", "Verify",
)  # fmt: skip
_JOURNALLED = {
    "dynamodb": (
        "BatchExecuteStatement", "BatchWriteItem", "DeleteItem", "ExecuteStatement", "ExecuteTransaction", "PutItem",
        "TransactWriteItems", "UpdateItem",
    ),
    "sqs": ("ChangeMessageVisibility", "DeleteMessage", "PurgeQueue", "ReceiveMessage", "SendMessage"),
}  # fmt: skip
_KEEP_NOTHING = {
    "logs": ("PutLogEvents", "StartQuery"),
    "monitoring": ("PutMetricData",),
    "sns": ("Publish",),
    "states": ("RedriveExecution", "SendTask", "StartExecution", "StartSyncExecution", "StopExecution"),
    "sts": ("",),
}


def changes_state(service: str, request: Request) -> bool:
    """Whether a request of a service, as its signature names it, may have changed what is saved.

    >>> changes_state("ecr", Request("PUT", "/v2/app/manifests/v1", ()))
    True
    >>> changes_state("sqs", Request("POST", "/", (("x-amz-target", "AmazonSQS.SendMessage"),)))
    False
    """
    if request.method in ("GET", "HEAD"):
        return False
    if service == "execute-api":  # what the invoked function changes, it changes by requests of its own
        return False
    action = _action(request)
    if not action:  # REST: Lambda, S3, and the registry's HTTP API
        return not request.target.partition("?")[0].endswith(("/invocations", "/invoke-async"))
    unsaved = (*_JOURNALLED.get(service, ()), *_KEEP_NOTHING.get(service, ()))
    return not action.startswith((*_READS, *unsaved))


def _action(request: Request) -> str:
    if target := request.header("x-amz-target"):
        return target.rpartition(".")[2]
    if "x-www-form-urlencoded" in request.header("content-type"):
        return parse_qs(request.body.decode("latin-1")).get("Action", [""])[0]
    return ""
