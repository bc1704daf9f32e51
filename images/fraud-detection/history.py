"""The customer's recent transactions, out of the state table's index ``customer``: one bounded Query."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from dynamodb import DynamoDB, DynamoDBError, Endpoint
from transactions.invocation import InvocationError
from transactions.transaction import FieldError, format_instant, parse_instant
from velocity import Earlier

INDEX = "customer"


class TableNotConfigured(InvocationError):
    """TABLE_NAME is not set; a score without the customer's velocity would be a guess."""


class CustomerHistory:
    """Made once per execution environment."""

    def __init__(self, table: str, client: DynamoDB) -> None:
        self._table = table
        self._client = client

    @classmethod
    def from_environment(cls) -> CustomerHistory | None:
        """None when TABLE_NAME is not set.

        It is told at the invocation: a failed INIT looks like a crash of the runtime, and its reason gets lost.
        """
        table = os.environ.get("TABLE_NAME")
        return cls(table, DynamoDB(Endpoint.from_environment())) if table else None

    def newest(self, customer_id: str, until: datetime, span: timedelta, limit: int) -> list[Earlier]:
        """At most ``limit`` transactions received in the ``span`` up to and including ``until``, the newest first.

        The index holds two keys per entry (KEYS_ONLY), so a page always holds ``limit`` of them. Raises DynamoDBError.
        """
        answer = self._client.query(
            {
                "TableName": self._table,
                "IndexName": INDEX,
                "KeyConditionExpression": "customer_id = :customer AND received_at BETWEEN :since AND :until",
                "ExpressionAttributeValues": {
                    ":customer": {"S": customer_id},
                    ":since": {"S": format_instant(until - span)},
                    ":until": {"S": format_instant(until)},
                },
                "ProjectionExpression": "transaction_id, received_at",
                "ScanIndexForward": False,
                "Limit": limit,
            }
        )
        try:
            return [
                Earlier(item["transaction_id"]["S"], parse_instant(item["received_at"]["S"]))
                for item in answer["Items"]
            ]
        except (KeyError, TypeError, FieldError):
            raise DynamoDBError("an entry of the customer index is not readable") from None
