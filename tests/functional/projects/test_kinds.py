"""Projects of many kinds, as their authors would write them: deployed, used, changed, rolled back and removed.

The folders are below tests/projects. Kinds with a Dockerfile of their own are in tests/containers/test_kinds.py; an
image that exists already is in test_prebuilt.py.
"""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import bytes_sent
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project
from tests.functional.signed_requests import request

PROJECTS = ROOT / "tests" / "projects"
# What a changed line may cost, whatever else is in the image.
SENT_MAX = 20_000
MODEL_SIZE = 50 * 1024 * 1024


@dataclass(frozen=True)
class Kind:
    """A project, and what its functions do.

    prepare  make what cannot be in the repository
    use      (project, outputs of the pipeline stack) → what is seen of the functions
    change   a file, a text in it, and its replacement
    before, after  what ``use`` gives, without and with the change
    """

    folder: str
    use: Callable[[Project, dict[str, str]], Any]
    change: tuple[str, str, str]
    before: Any
    after: Any
    prepare: Callable[[Project], None] = lambda _project: None


def ask(project: Project, outputs: dict[str, str]) -> Any:
    """Requests through the HTTP API: a good one, one of the wrong type, and one that FastAPI must refuse."""
    item = json.dumps({"name": "bell", "price": 9.5}).encode()
    json_type = {"content-type": "application/json"}
    answers = [
        request(project.aws, "GET", outputs["ApiUrl"] + "/items/7"),
        request(project.aws, "GET", outputs["ApiUrl"] + "/items/seven"),
        request(project.aws, "POST", outputs["ApiUrl"] + "/items", item, json_type),
    ]
    return [(status, json.loads(body) if status < 400 else None) for status, _headers, body in answers]


def send_mails(project: Project, outputs: dict[str, str]) -> Any:
    """Messages of which one fails each time, and the job of the schedule; what was sent, and what is left."""
    sqs = project.aws.client("sqs")
    mails = [f"{name}-{time.time_ns()}@example.com" for name in "abc"] + ["nobody"]
    sqs.send_message_batch(
        QueueUrl=outputs["SendQueueUrl"], Entries=[{"Id": str(n), "MessageBody": each} for n, each in enumerate(mails)]
    )
    kept: list[str] = []
    until = time.monotonic() + 60
    while not kept and time.monotonic() < until:
        found = sqs.receive_message(QueueUrl=outputs["SendFailuresUrl"], WaitTimeSeconds=1).get("Messages", [])
        kept = [each["Body"] for each in found]
        for each in found:
            sqs.delete_message(QueueUrl=outputs["SendFailuresUrl"], ReceiptHandle=each["ReceiptHandle"])
    assert project.json("invoke", "send", "--event", "schedule")["failed"] is False
    lines = project.run("logs", "--since", "1h").stdout.splitlines()
    sent = [[line for line in lines if mail in line] for mail in mails[:3]]
    return {"kept": kept, "sent": [len(each) for each in sent], "by post": "by=post" in sent[0][0]}


def make_secret(project: Project) -> None:
    secret = "postgresql://reader:never-shown@db.example:5432/ledger"
    project.aws.client("secretsmanager").create_secret(Name="ledger/database", SecretString=secret)


def make_model(project: Project) -> None:
    (project.folder / "images/score/model.bin").write_bytes(bytes(range(256)) * (MODEL_SIZE // 256))


CHECKSUM = zlib.crc32(bytes(range(256)) * (MODEL_SIZE // 256))
ROWS = [{"region": "north", "amount": 2}, {"region": "south", "amount": 3}, {"region": "north", "amount": 5}]
READ = {"host": "db.example", "user": "reader", "libpq": True, "answers": False}
KINDS = [
    Kind(
        "http-api", ask, ("images/api/handler.py", '{"id": item_id}', '{"id": -item_id}'),
        [(200, {"id": 7}), (422, None), (201, {"name": "bell", "price": 9.5})],
        [(200, {"id": -7}), (422, None), (201, {"name": "bell", "price": 9.5})],
    ),
    Kind(
        "database", lambda project, _outputs: project.invoke("balance", {}),
        ("images/balance/handler.py", '"answers": False', '"answers": None'), READ, {**READ, "answers": None},
        make_secret,
    ),
    Kind(
        "handlers", lambda project, _: [project.invoke("read-orders", {"id": "1"}), project.invoke("count-orders", {})],
        ("images/orders/handlers.py", '"1": "a bicycle"', '"1": "a bell", "2": "a bicycle"'),
        [{"order": "a bicycle"}, {"orders": 1}], [{"order": "a bell"}, {"orders": 2}],
    ),
    Kind(
        "queue", send_mails, ("images/send/handler.py", '"sent": mail', '"sent": mail, "by": "post"'),
        {"kept": ["nobody"], "sent": [1, 1, 1], "by post": False},
        {"kept": ["nobody"], "sent": [1, 1, 1], "by post": True},
    ),
    Kind(
        "model", lambda project, _outputs: project.invoke("score", {}),
        ("images/score/handler.py", "SCALE = 1", "SCALE = 2"),
        {"size": MODEL_SIZE, "checksum": CHECKSUM, "scale": 1}, {"size": MODEL_SIZE, "checksum": CHECKSUM, "scale": 2},
        make_model,
    ),
    Kind(
        "tables", lambda project, _outputs: project.invoke("report", {"rows": ROWS}),
        ("images/report/handler.py", 'KEY = "region"', 'KEY = "amount"'),
        {"north": 7, "south": 3}, {"2": 2, "3": 3, "5": 5},
    ),
]  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
def test_a_kind_of_project(kind: Kind, embedded_aws: EmbeddedAws, tmp_path: Path) -> None:
    folder = tmp_path / kind.folder
    shutil.copytree(PROJECTS / kind.folder, folder)
    project = Project(folder, embedded_aws)
    kind.prepare(project)
    try:
        released = project.json("up")
        assert released["changed"]
        stack = released["stacks"][1]["name"]

        def used() -> Any:
            described = embedded_aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
            return kind.use(project, {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]})

        assert used() == kind.before
        assert not project.json("up")["changed"]
        path, old, new = kind.change
        text = (folder / path).read_text()
        assert text.count(old) == 1
        (folder / path).write_text(text.replace(old, new))
        assert project.json("plan", code=2)["functions"]
        assert 0 < bytes_sent(project.run("up", "--events").stdout) < SENT_MAX
        assert used() == kind.after
        assert project.json("rollback")["changed"]
        assert used() == kind.before
        project.run("down", "--yes")
        assert not [each for each in project.aws.client("ecr").describe_repositories()["repositories"]
                    if stack.removesuffix("-pipeline-dev") in each["repositoryName"]]  # fmt: skip
    finally:
        project.run("down", "--yes", code=(0, 1))
