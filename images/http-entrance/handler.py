"""Lambda entry point of http-entrance: takes a transaction over HTTP and answers with the workflow's decision."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from answers import PENDING_SECONDS, accepted, not_found, response_of_record, response_to, throttled, unavailable
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from http_requests import HttpRequest, read_submission
from openapi_document import openapi_document
from problems import Problem, Response, respond
from transactions.invocation import LambdaContext, logger, place_of
from transactions.submission import THROTTLED, Ended, Submission, workflow_options
from transactions.transaction import is_transaction_id

SUBMIT, READ, DESCRIBE = "POST /transactions", "GET /transactions/{id}", "GET /openapi.json"

_SESSION = Session()
_WORKFLOW = _SESSION.create_client("stepfunctions", config=Config(**workflow_options()))
_TABLE = _SESSION.create_client(
    "dynamodb", config=Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2, "mode": "standard"})
)
_DOCUMENT = openapi_document(os.environ.get("JWT_ISSUER", ""), os.environ.get("JWT_SCOPES", "").split())


def submit(request: HttpRequest) -> Response:
    """Run the workflow for the submitted transaction. Raises Problem."""
    submission = read_submission(request)
    identifier = submission.transaction_id
    name = f"http-{uuid.uuid4()}"
    logger.append_keys(transaction_id=identifier or "unusable", execution=name)
    try:
        result = _WORKFLOW.start_sync_execution(
            stateMachineArn=os.environ["STATE_MACHINE_ARN"], name=name, input=submission.text
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in THROTTLED:
            raise throttled() from None
        if code == "InvalidExecutionInput":
            raise Problem(
                HTTPStatus.BAD_REQUEST, "unreadable", "The body cannot be read: Step Functions does not take it."
            ) from None
        logger.error("the workflow was not started", error=code)
        raise unavailable("The pipeline does not take transactions at the moment.") from None
    except BotoCoreError as error:
        logger.warning("the workflow did not answer in time", error=type(error).__name__)
        return _without_answer(submission, name)
    return response_to(Ended.of(result), identifier)


def _without_answer(submission: Submission, execution: str) -> Response:
    """The response to a submission whose execution has not answered: the record shows whether it is accepted."""
    identifier = submission.transaction_id
    record = _record(identifier) if identifier is not None else None
    if identifier is not None and record and record.get("execution", {}).get("S", "").startswith(f"{execution}:"):
        if record["status"]["S"] == "DECIDED":
            return response_of_record(identifier, record)
        return accepted("PENDING", identifier, PENDING_SECONDS)
    raise unavailable("The pipeline has not answered in time.")


def read(request: HttpRequest) -> Response:
    """The state of a transaction. Raises Problem."""
    identifier = request.parameters.get("id")
    # What is not an id has no record, and is not logged.
    if identifier is None or not is_transaction_id(identifier):
        raise not_found()
    logger.append_keys(transaction_id=identifier)
    return response_of_record(identifier, _record(identifier))


def _record(transaction_id: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = _TABLE.get_item(
            TableName=os.environ["TABLE_NAME"],
            Key={"transaction_id": {"S": transaction_id}},
            ConsistentRead=True,
            ProjectionExpression="#status, answer, execution, lease_until, parked_at",
            ExpressionAttributeNames={"#status": "status"},
        )
    except ClientError as error:
        logger.error("the record was not read", error=error.response["Error"]["Code"])
        raise unavailable("The state of the transaction cannot be read at the moment.") from None
    except BotoCoreError as error:
        logger.error("the record was not read", error=type(error).__name__)
        raise unavailable("The state of the transaction cannot be read at the moment.") from None
    return found.get("Item")


def describe(_request: HttpRequest) -> Response:
    return respond(HTTPStatus.OK, _DOCUMENT)


def refuse(request: HttpRequest) -> Response:
    """Every other request. Raises Problem: 405 where another method has a route, else 404."""
    allowed = _allowed(request.path)
    if allowed is None:
        raise not_found()
    raise Problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method",
        f"This address has the method {allowed} only.",
        headers={"allow": allowed},
    )


def _allowed(path: str) -> str | None:
    match path.split("/")[1:]:
        case ["transactions"]:
            return "POST"
        case ["transactions", identifier] if identifier:
            return "GET"
        case ["openapi.json"]:
            return "GET"
    return None


_ROUTES = {SUBMIT: submit, READ: read, DESCRIBE: describe}


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handle(event: Mapping[str, Any], _context: LambdaContext) -> Response:
    """Answer a request of an HTTP API (payload format 2.0)."""
    try:
        request = HttpRequest.parse(event)
        response = _ROUTES.get(request.route, refuse)(request)
    except Problem as problem:
        response = problem.response()
    except Exception as error:  # noqa: BLE001 - its text may hold what was submitted, so it must not leave
        logger.error("the request failed", error=type(error).__name__, place=place_of(error.__traceback__))
        response = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The request failed.").response()
    logger.info("answered", status=response["statusCode"])
    return response
