"""The end of an environment, questions before a loss, and what is adopted when it begins again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cfn.names import Names
from commands import history, releasing
from commands.context import Context, Outcome
from pipeline.core.errors import ReleaseError, StackError
from pipeline.core.events import ignore
from pipeline.ledger.releases import list_releases
from pipeline.release.buckets import empty_bucket
from pipeline.release.environments import Environments, require_known
from pipeline.stacks import read_stack
from tests.functional.command_line import CommandLine
from tests.functional.release_lab import Lab, different
from tests.proxies.faults import FaultProxy


class Terminal:
    """A user with one answer to every question."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def __call__(self, question: str) -> str:
        self.questions.append(question)
        return self.answer


@pytest.fixture(autouse=True)
def place(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of this process speak to the lab's embedded AWS."""
    for name, value in lab.aws.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(lab.cache))
    monkeypatch.setenv("TRANSACTION_PIPELINE_LOCAL", str(lab.root / "local"))


def context(lab: Lab, environment: str, root: Path | None = None, terminal: Terminal | None = None) -> Context:
    return Context(environment, project=root or lab.root, ask=terminal)


def up(lab: Lab, environment: str, root: Path | None = None, *, yes: bool = False, **more: Any) -> Outcome:
    return releasing.up(context(lab, environment, root, **more), smoke=True, sbom=False, yes=yes)


def down(lab: Lab, environment: str, *, keep_data: bool = False) -> dict[str, Any]:
    return dict(releasing.down(context(lab, environment), keep_data=keep_data, yes=False).result)


def left_of(lab: Lab, environment: str) -> list[str]:
    """Everything on the embedded AWS that is called after an environment."""
    client = lab.aws.client
    found = list(client("dynamodb").list_tables()["TableNames"])
    found += [each["repositoryName"] for each in client("ecr").describe_repositories()["repositories"]]
    found += [each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]]
    found += [each["FunctionName"] for each in client("lambda").list_functions()["Functions"]]
    found += [each["RoleName"] for each in client("iam").list_roles()["Roles"]]
    found += [each["name"] for each in client("stepfunctions").list_state_machines()["stateMachines"]]
    found += [each["Name"] for each in client("ssm").describe_parameters()["Parameters"]]
    found += client("sqs").list_queues().get("QueueUrls", [])
    found += [each["TopicArn"] for each in client("sns").list_topics()["Topics"]]
    stacks = client("cloudformation").describe_stacks()["Stacks"]
    found += [each["StackName"] for each in stacks]
    return sorted(name for name in found if environment in name)


def test_nothing_is_left(lab: Lab) -> None:
    with lab.environment() as environment:
        up(lab, environment)
        assert len(left_of(lab, environment)) > 20
        assert len(list_releases(lab.aws.client("ssm"), environment)) == 1
        done = down(lab, environment)
        assert left_of(lab, environment) == []
        assert list_releases(lab.aws.client("ssm"), environment) == ()
    assert (done["kept"], done["ledger"], done["stopped"]) == ([], True, False)
    assert done["deleted"] == [f"transaction-pipeline-{environment}", f"transaction-registry-{environment}"]


@pytest.mark.parametrize("moment", ["within stack transaction-registry", "within stack transaction-pipeline"])
def test_half_an_environment_is_taken_down_too(lab: Lab, moment: str) -> None:
    with lab.environment() as environment:
        killed = lab.begin(environment, kill_at=moment)
        assert killed.wait() == -signal.SIGKILL
        down(lab, environment)
        assert left_of(lab, environment) == []
        assert down(lab, environment)["deleted"] == []


def test_what_is_kept_is_named_with_the_command_that_deletes_it_and_used_again(lab: Lab) -> None:
    with lab.environment() as environment:
        up(lab, environment)
        before = lab.snapshot(environment)
        table = lab.aws.client("dynamodb")
        item = {"transaction_id": {"S": "kept"}}
        table.put_item(TableName=f"transaction-state-{environment}", Item=item)
        done = down(lab, environment, keep_data=True)
        kept = [each["name"] for each in done["kept"]]
        assert sorted(kept) == [name.rpartition("/000000000000/")[2] for name in left_of(lab, environment)]
        assert f"transaction-state-{environment}" in kept
        assert f"/transaction-pipeline/{environment}/release" in kept
        again = up(lab, environment)
        assert "sample" in again.result
        assert (
            lab.aws.client("dynamodb").get_item(TableName=f"transaction-state-{environment}", Key=item)["Item"] == item
        )
        found = lab.snapshot(environment)
        assert different({**found, "pipeline": before["pipeline"], "registry": before["registry"]}, before) == []
        assert found["pipeline"]["template"] == before["pipeline"]["template"]
        down(lab, environment, keep_data=True)
        for each in done["kept"]:
            call(lab, each["command"])
        assert left_of(lab, environment) == []


def call(lab: Lab, command: str) -> None:
    """Carry out commands of the AWS CLI, as far as these tests meet it, by the same operations of boto3."""
    command = re.sub(r" --(endpoint-url|region) \S+", "", command)
    if queue := re.search(r'"\$\(aws sqs get-queue-url --queue-name (\S+) .*\)"', command):
        url = lab.aws.client("sqs").get_queue_url(QueueName=queue[1])["QueueUrl"]
        command = command.replace(queue[0], url)
    for part in command.split(" && "):
        _, service, operation, *options = part.split()
        if (service, operation) == ("s3", "rb"):
            bucket = options[-1].removeprefix("s3://")
            empty_bucket(lab.aws.client, bucket, ignore)
            lab.aws.client("s3").delete_bucket(Bucket=bucket)
            continue
        arguments: dict[str, Any] = {}
        while options:
            name, value = options.pop(0).removeprefix("--"), True
            if name.startswith("no-"):
                name, value = name.removeprefix("no-"), False
            given = options.pop(0) if options and not options[0].startswith("--") else value
            arguments["".join(word.capitalize() for word in name.split("-"))] = given
        if service in ("ecr", "logs"):
            arguments = {name[0].lower() + name[1:]: value for name, value in arguments.items()}
        getattr(lab.aws.client(service), operation.replace("-", "_"))(**arguments)


def test_protected_data_outlives_down_and_names_its_protection(lab: Lab, tmp_path: Path) -> None:
    root = with_settings(lab, tmp_path, "protect_data = true")
    with lab.environment() as environment:
        up(lab, environment, root)
        done = down(lab, environment)
        commands = [each["command"] for each in done["kept"]]
        assert any("--no-deletion-protection-enabled" in command and "delete-table" in command for command in commands)
        names = {each["name"] for each in done["kept"]}
        assert names >= {f"transaction-state-{environment}", f"transaction-dlq-{environment}"}
        again = up(lab, environment, root)
        assert "sample" in again.result
        down(lab, environment)
        for command in commands:
            call(lab, command)
        assert left_of(lab, environment) == []


def with_settings(lab: Lab, folder: Path, *lines: str) -> Path:
    """The lab's functions under other settings."""
    (folder / "images").symlink_to(lab.root / "images")
    (folder / "environments.toml").write_text(
        "\n".join(("[project]", 'workflow = "transactions"', "[defaults]", *lines, ""))
    )
    return folder


class TestLosses:
    """Another address range replaces the network with everything in it."""

    @pytest.fixture
    def other(self, lab: Lab, tmp_path: Path) -> Path:
        return with_settings(lab, tmp_path, 'vpc_cidr = "10.40.0.0/20"')

    def test_without_a_terminal_it_says_how_to_say_yes(self, lab: Lab, other: Path) -> None:
        with lab.environment() as environment:
            releasing.infra(context(lab, environment), yes=False)
            with pytest.raises(ReleaseError) as raised:
                releasing.infra(context(lab, environment, other), yes=False)
            assert "Vpc (AWS::EC2::VPC) would be replaced" in raised.value.why
            assert "infra" in str(raised.value.next_step)
            assert "--yes" in str(raised.value.next_step)
            stack = read_stack(lab.aws.client("cloudformation"), f"transaction-pipeline-{environment}")
            assert "10.40.0.0/20" not in stack.template
            planned = history.plan(context(lab, environment, other))
            lost = [each for stack in planned.result["stacks"] for each in stack["resources"] if each["destructive"]]
            assert "Vpc" in [each["logical_id"] for each in lost]
            assert "\x1b[31m" in planned.text
            assert planned.result["cost"]["per_month"] > 0
            assert planned.exit_code == 2

    @pytest.mark.parametrize(("answer", "goes_on"), [("yes", True), ("y", False), ("", False)])
    def test_only_a_yes_goes_on(self, lab: Lab, other: Path, answer: str, goes_on: bool) -> None:
        with lab.environment() as environment:
            releasing.infra(context(lab, environment), yes=False)
            terminal = Terminal(answer)
            asked = context(lab, environment, other, terminal)
            if goes_on:
                releasing.infra(asked, yes=False)
            else:
                with pytest.raises(ReleaseError, match="not approved"):
                    releasing.infra(asked, yes=False)
            assert "Vpc (AWS::EC2::VPC) would be replaced" in terminal.questions[0]
            stack = read_stack(lab.aws.client("cloudformation"), f"transaction-pipeline-{environment}")
            assert ("10.40.0.0/20" in stack.template) is goes_on

    def test_yes_on_the_command_line_is_not_asked_again(self, lab: Lab, other: Path) -> None:
        with lab.environment() as environment:
            releasing.infra(context(lab, environment), yes=False)
            terminal = Terminal("no")
            releasing.infra(context(lab, environment, other, terminal), yes=True)
            assert terminal.questions == []

    def test_other_images_cost_no_question_and_no_change_set_more(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Terminal("no")
        with lab.environment() as environment, FaultProxy(lab.aws.endpoint) as proxy:
            up(lab, environment)
            monkeypatch.setenv("TRANSACTION_PIPELINE_ENDPOINT", proxy.endpoint)
            with lab.changed("\n# another image\n"):
                up(lab, environment, terminal=terminal)
            assert terminal.questions == []
            assert proxy.calls.count("CreateChangeSet") == 1


@pytest.mark.parametrize(("answer", "goes_on"), [("prod", True), ("yes", False), ("", False)])
def test_on_aws_the_name_is_asked_for(lab: Lab, answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from commands.asking import confirm_name

    terminal = Terminal(answer)
    asked = Context("prod", target_name="aws", ask=terminal)
    if goes_on:
        confirm_name(asked, yes=False)
    else:
        with pytest.raises(ReleaseError, match="was not deleted"):
            confirm_name(asked, yes=False)
    assert len(terminal.questions) == 1
    confirm_name(Context("prod", target_name="aws"), yes=True)
    with pytest.raises(ReleaseError, match="no terminal"):
        confirm_name(Context("prod", target_name="aws"), yes=False)


def test_down_brings_down_what_is_only_on_disk(tmp_path: Path, lab: Lab) -> None:
    """After a restart of the machine nothing runs, but what is kept on disk would come back."""
    line = CommandLine(tmp_path / "local", lab.cache)
    blank = {"TRANSACTION_PIPELINE_ENDPOINT": ""}
    assert line.json("down", **blank)["deleted"] == []
    assert not (tmp_path / "local").exists()
    line.json("infra", **blank)
    pid = json.loads((tmp_path / "local" / "local.json").read_text())["pid"]
    subprocess.run(["kill", str(pid)], check=True)
    done = line.json("down", **blank)
    assert (len(done["deleted"]), done["stopped"]) == (2, True)
    assert line.json("down", **blank)["deleted"] == []


def test_a_misspelt_environment_is_an_error_that_lists_the_others(lab: Lab) -> None:
    cloudformation = lab.aws.client("cloudformation")
    topic = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    with lab.environment() as environment:
        stack = Names(environment).registry_stack
        cloudformation.create_stack(StackName=stack, TemplateBody=topic)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
        for command in (
            lambda: down(lab, "misspelt"),
            lambda: history.prune(context(lab, "misspelt"), keep=5, dry_run=False),
        ):
            with pytest.raises(StackError, match=f"there is no environment misspelt.*{environment}"):
                command()
        assert down(lab, environment)["deleted"] == [stack]
        assert down(lab, environment)["deleted"] == []


def test_down_of_what_never_existed_succeeds_where_nothing_exists() -> None:
    require_known(Environments(frozenset()), "dev", "dev was not deleted")
    require_known(None, "dev", "dev was not deleted")
    require_known(Environments(frozenset({"prod"}), frozenset({"dev"})), "dev", "dev was not deleted")
    with pytest.raises(StackError, match="there are prod, test"):
        require_known(Environments(frozenset({"prod", "test"})), "dev", "dev was not deleted")
