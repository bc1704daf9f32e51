"""A caller of the HTTP API, run by Locust in an environment of its own (``benchmarks.entrances``).

It needs Locust and botocore only, and nothing of this project. Variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, and LOAD_PATH, the path that transactions are posted to.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from locust import FastHttpUser


def submit(caller: Caller) -> None:
    """Post a new transaction; anything but its approval is a failure."""
    identifier = str(uuid.uuid4())
    document: dict[str, Any] = {
        "transaction_id": identifier, "amount": "10.00", "currency": "USD", "merchant_id": "m-1",
        "customer_id": f"customer-of-{identifier}",
    }  # fmt: skip
    body = json.dumps(document).encode()
    request = AWSRequest("POST", f"{caller.host}{caller.path}", data=body, headers={"Content-Type": "application/json"})
    caller.signer.add_auth(request)
    with caller.client.post(caller.path, data=body, headers=dict(request.headers), catch_response=True) as response:
        if response.status_code != 200 or response.json().get("outcome") != "APPROVED":
            response.failure(f"status {response.status_code}")


class Caller(FastHttpUser):  # type: ignore[misc]
    """Posts one transaction after the other."""

    tasks = [submit]  # noqa: RUF012 - Locust's own interface

    def on_start(self) -> None:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        self.signer = SigV4Auth(Credentials(key, secret), "execute-api", os.environ["AWS_DEFAULT_REGION"])
        self.path = os.environ["LOAD_PATH"]
