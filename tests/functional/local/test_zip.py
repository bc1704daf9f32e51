"""Functions from zip files, which ministack runs by itself: the placeholder's, and anybody's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import make_role

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def run(embedded_aws: EmbeddedAws) -> Run:
    """What a function of this source answers when it is invoked for the first time."""
    role, client, made = make_role(embedded_aws, "zipped"), embedded_aws.client("lambda"), []

    def run(source: str) -> Any:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("index.py", source)
        made.append(source)
        name = f"zipped-{len(made)}"
        client.create_function(
            FunctionName=name, Runtime="python3.13", Handler="index.handle", Role=role, Timeout=30,
            Code={"ZipFile": buffer.getvalue()},
        )  # fmt: skip
        return json.loads(client.invoke(FunctionName=name)["Payload"].read())

    return run


def test_it_runs_under_its_own_role(embedded_aws: EmbeddedAws, run: Run) -> None:
    arn, endpoint = run(
        "import boto3, os\n"
        "def handle(event, context):\n"
        "    return [boto3.client('sts').get_caller_identity()['Arn'], os.environ['AWS_ENDPOINT_URL']]\n"
    )
    assert arn.startswith("arn:aws:sts::000000000000:assumed-role/zipped/")
    assert endpoint == embedded_aws.endpoint


def test_botocore_is_not_loaded_for_a_function_that_does_without(run: Run) -> None:
    assert run("import sys\ndef handle(event, context):\n    return 'botocore' in sys.modules\n") is False


@pytest.mark.parametrize("where", ["at its start", "in the handler"])
def test_calls_with_botocore_tell_how_deep_they_are(run: Run, where: str) -> None:
    imported = ("import boto3\n", "") if where == "at its start" else ("", "    import boto3\n")
    sent = run(
        f"{imported[0]}def handle(event, context):\n{imported[1]}"
        "    client, sent = boto3.client('sts'), []\n"
        "    client.meta.events.register('before-send', lambda request, **_: sent.append(dict(request.headers)))\n"
        "    client.get_caller_identity()\n"
        "    return [{name: str(value) for name, value in each.items()} for each in sent]\n"
    )
    assert [{name.lower() for name in each} >= {"x-ministack-invoke-depth"} for each in sent] == [True]
