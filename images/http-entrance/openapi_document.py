"""The OpenAPI 3.1 document of the HTTP entrance, made of the same limits and codes that transactions are read with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transactions.countries import COUNTRY_CODES
from transactions.currencies import MINOR_UNIT_DIGITS
from transactions.submission import INPUT_MAX_BYTES
from transactions.transaction import (
    ACCOUNT_VERIFICATION,
    ID_LENGTH,
    NAME_LENGTH,
    PAYMENT,
)

Schema = dict[str, Any]
_ID = r"^[A-Za-z0-9._:-]+$"
_PARTY_ID = r"^[!-~]([ -~]*[!-~])?$"
_INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"


def openapi_document(issuer: str = "", scopes: Sequence[str] = ()) -> Schema:
    """The document. It names no server: addresses are relative to its own.

    issuer  the OpenID Connect provider of the callers' tokens; "" for callers who sign with IAM's credentials
    scopes  of which a token has one
    """
    name, scheme = ("jwt", _tokens(issuer)) if issuer else ("sigv4", _SIGNATURES)
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Transactions",
            "version": "1",
            "description": "One decision per transaction_id. To send a transaction again is always safe: the same"
            " content gets the answer given before, and other content a conflict.",
        },
        "servers": [{"url": "."}],
        # Each entry is enough.
        "security": [{name: [scope]} for scope in scopes] or [{name: []}],
        "paths": {
            "/transactions": {"post": _submit()},
            "/transactions/{id}": {"get": _read()},
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document",
                    "responses": {
                        "200": _response("The document", {"type": "object"}),
                        "403": _gateway("The caller may not use this address"),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {name: scheme},
            "schemas": {
                "Transaction": _transaction(),
                "Decision": _decision(),
                "Reason": _reason(),
                "Waiting": _waiting(),
                "Problem": _problem(),
                "Message": {"type": "object", "properties": {"message": {"type": ["string", "null"]}}},
            },
        },
    }
    if issuer:
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"]["401"] = _gateway("The request has no valid token")
    return document


_SIGNATURES: Schema = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "AWS Signature Version 4 for the service execute-api",
    "x-amazon-apigateway-authtype": "awsSigv4",
}


def _tokens(issuer: str) -> Schema:
    return {
        "type": "openIdConnect",
        # OpenID Connect Discovery 1.0, 4.
        "openIdConnectUrl": f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        "description": "A token (JWT) of the issuer, as Authorization: Bearer",
    }


def _submit() -> Schema:
    return {
        "operationId": "submit",
        "summary": "Submit a transaction and get its decision",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The transaction_id of the body, if it is sent: that is the key anyway",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {INPUT_MAX_BYTES:,} bytes of JSON without repeated names (RFC 7493)",
            "content": {"application/json": {"schema": _ref("Transaction")}},
        },
        "responses": {
            "200": _response("The decision, or the one given before", _ref("Decision")),
            "202": _accepted("It is accepted, and waits for its decision", location=True),
            "400": _refused("The body, or the Idempotency-Key, cannot be used"),
            "403": _gateway("The caller may not submit"),
            "409": _refused("Other content was submitted with this transaction_id before"),
            "413": _refused("The body is too large"),
            "415": _refused("The body is not application/json"),
            "422": _refused("The transaction is faulty; errors has all of its faults"),
            "429": _later("There are more requests than the pipeline takes"),
            "503": _later("The pipeline has not answered"),
        },
    }


def _read() -> Schema:
    return {
        "operationId": "read",
        "summary": "The state of a transaction",
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "Its transaction_id",
                "schema": {"type": "string", "pattern": _ID, "minLength": 1, "maxLength": ID_LENGTH},
            }
        ],
        "responses": {
            "200": _response("Its answer, whatever the outcome", _ref("Decision")),
            "202": _accepted("It has no answer yet", location=False),
            "403": _gateway("The caller may not read"),
            "404": _refused("There is no record of it"),
            "429": _later("There are more requests than the pipeline takes"),
            "503": _later("The record cannot be read"),
        },
    }


def _transaction() -> Schema:
    # A field that is null is absent.
    country = {"type": ["string", "null"], "enum": [*sorted(COUNTRY_CODES), None], "description": "ISO 3166-1 alpha-2"}
    name = {"type": ["string", "null"], "minLength": 1, "maxLength": NAME_LENGTH}
    party = {"type": "string", "pattern": _PARTY_ID, "minLength": 1, "maxLength": ID_LENGTH}
    return {
        "type": "object",
        "description": "A card transaction. Card numbers are refused in every field; send a token of your processor.",
        "additionalProperties": False,
        "required": ["transaction_id", "amount", "currency", "merchant_id", "customer_id"],
        "properties": {
            "transaction_id": {"type": "string", "pattern": _ID, "minLength": 1, "maxLength": ID_LENGTH},
            "amount": {
                "description": "Exact as a string; a number has at most 15 significant digits",
                "anyOf": [
                    {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "maxLength": 64},
                    {"type": "number", "minimum": 0},
                ],
            },
            "currency": {"type": "string", "enum": sorted(MINOR_UNIT_DIGITS), "description": "ISO 4217"},
            "merchant_id": party,
            "customer_id": party,
            "kind": {"type": ["string", "null"], "enum": [PAYMENT, ACCOUNT_VERIFICATION, None]},
            "timestamp": {"type": ["string", "null"], "pattern": _INSTANT},
            "merchant_category": {"type": ["string", "null"], "pattern": "^[0-9]{4}$", "description": "ISO 18245"},
            "merchant_country": country,
            "customer_country": country,
            "ip_country": country,
            "customer_name": name,
            "beneficiary_name": name,
        },
        "examples": [
            {
                "transaction_id": "t-1",
                "amount": "10.00",
                "currency": "USD",
                "merchant_id": "m-1",
                "customer_id": "c-1",
            }
        ],
    }


def _decision() -> Schema:
    return {
        "type": "object",
        "required": ["transaction_id", "outcome", "reasons", "repeat", "decided_at"],
        "properties": {
            "transaction_id": {"type": "string"},
            # A read gives the recorded answer, whatever it is.
            "outcome": {"enum": ["APPROVED", "REVIEW", "DECLINED", "REJECTED"]},
            "repeat": {"type": "boolean", "description": "Whether the answer was given before"},
            "decided_at": {"type": "string", "format": "date-time"},
            "score": {"type": "number", "minimum": 0, "maximum": 100, "description": "Risk of fraud"},
            "reasons": {"type": "array", "items": _ref("Reason")},
        },
    }


def _reason() -> Schema:
    return {
        "type": "object",
        "required": ["source", "rule", "message"],
        "properties": {
            "source": {"type": "string"},
            "rule": {"type": "string", "description": "Stable, for programs"},
            "message": {"type": "string"},
            "field": {"type": "string", "description": 'Of a fault; "" for the transaction as a whole'},
            "points": {"type": "integer", "description": "Added to the score"},
            "action": {"enum": ["BLOCK", "REVIEW", "REPORT"]},
        },
    }


def _waiting() -> Schema:
    return {
        "type": "object",
        "required": ["transaction_id", "status"],
        "properties": {
            "transaction_id": {"type": ["string", "null"]},
            "status": {
                "enum": ["PENDING", "PARKED"],
                "description": "PARKED: it failed and is kept, until an operator redrives it",
            },
        },
    }


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "A problem document (RFC 9457)",
        "required": ["title", "status", "detail", "code"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "description": "Stable, for programs"},
            "transaction_id": {"type": ["string", "null"]},
            "outcome": {"enum": ["CONFLICT", "REJECTED"]},
            "repeat": {"type": "boolean"},
            "decided_at": {"type": "string", "format": "date-time"},
            "errors": {"type": "array", "items": _ref("Reason")},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _response(description: str, schema: Schema, kind: str = "application/json") -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _refused(description: str) -> Schema:
    return _response(description, _ref("Problem"), "application/problem+json")


def _gateway(description: str) -> Schema:
    """A response of API Gateway itself."""
    return _response(description, _ref("Message"))


def _later(description: str) -> Schema:
    """A refusal of the entrance, or of API Gateway, which has neither a problem document nor Retry-After."""
    response = _refused(description)
    response["content"]["application/json"] = {"schema": _ref("Message")}
    return response | {"headers": {"Retry-After": _RETRY_AFTER}}


def _accepted(description: str, *, location: bool) -> Schema:
    headers: Schema = {"Retry-After": _RETRY_AFTER}
    if location:
        headers["Location"] = {
            "description": "Where its state is, relative to this address; absent without a usable transaction_id",
            "schema": {"type": "string"},
        }
    return _response(description, _ref("Waiting")) | {"headers": headers}


_RETRY_AFTER: Schema = {"description": "Seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
