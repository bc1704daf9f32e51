"""The command line itself: usage, output and exit codes, without a target."""

from __future__ import annotations

import ast
import inspect
import json
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import bootstrap
from commands.context import Context, Outcome
from commands.declared import Choices, Command, command
from commands.deploying import base_of
from commands.examples import EXAMPLES
from commands.usage import MODULES, find_command
from pipeline.core.errors import SettingsError, SourceError
from pipeline.core.events import Note

ROOT = Path(bootstrap.__file__).parent
SHARED = {"environment", "target", "region", "as_json", "events"}


@pytest.mark.parametrize("name", MODULES)
def test_every_command_takes_the_shared_options_and_helps(name: str) -> None:
    command = bootstrap.main.get_command(click.Context(bootstrap.main), name)
    assert command is not None
    assert {parameter.name for parameter in command.params} >= SHARED
    shown = CliRunner().invoke(bootstrap.main, [name, "--help"])
    assert shown.exit_code == 0
    assert command.help
    assert command.help.split()[0] in shown.output


@pytest.mark.parametrize("name", MODULES)
def test_the_options_of_a_command_are_the_arguments_of_its_function(name: str) -> None:
    declared = find_command(name)
    options = {str(each.name) for each in declared.parameters} - {"base", "builder", "runtime", "environment"}
    signature = inspect.signature(declared.function).parameters.values()
    own = {each.name: each for each in signature if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert options <= own.keys()
    # What is no option is for callers in Python, and has a default.
    assert all(own[each].default is not inspect.Parameter.empty for each in own.keys() - options)


@command("For a test.")
def outcome(context: Context, *, code: int) -> Outcome:
    context.report(Note("half way"))
    return Outcome({"code": code}, f"ended {code}", code)


@command("For a test.")
def failing(_context: Context) -> Outcome:
    raise SourceError("the image was not built", "it has no handler", "Write one.")


def run(
    declared: Command[Any], flags: tuple[bool, bool], capsys: pytest.CaptureFixture[str], **more: object
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        bootstrap.run(declared, Choices("dev", "local", None, *flags, context={}, own=more))
    shown = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, shown.out, shown.err


TEXT, JSON, EVENTS = (False, False), (True, False), (False, True)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_result_goes_to_stdout_and_progress_to_stderr(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(outcome, TEXT, capsys, code=code) == (code, f"ended {code}\n", "  half way\n")


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(outcome, JSON, capsys, code=0)
    assert json.loads(out) == {"code": 0}


def test_events_are_lines_before_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = run(outcome, EVENTS, capsys, code=0)
    assert [json.loads(line) for line in out.splitlines()] == [{"event": "Note", "text": "half way"}, {"code": 0}]
    assert err == ""


def test_an_expected_error_has_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(failing, TEXT, capsys)
    assert (code, out) == (1, "")
    assert err == "error: the image was not built\n  why:  it has no handler\n  next: Write one.\n"
    _, out, _ = run(failing, JSON, capsys)
    assert json.loads(out) == {
        "what": "the image was not built",
        "why": "it has no handler",
        "next_step": "Write one.",
        "commands": [],
    }


WRONG_USAGE = [
    (("no-such-command",), "bootstrap.py", "No such command 'no-such-command'"),
    (("status", "--bogus"), "bootstrap.py status", "No such option '--bogus'"),
    (("status", "--target", "moon"), "bootstrap.py status", "'moon' is not one of"),
    (("invoke",), "bootstrap.py invoke", "Missing argument 'FUNCTION'"),
    (("invoke", "nope", "-"), "bootstrap.py invoke", "there is no 'nope'; choose from"),
    (("invoke", "fraud-detection", "no-such-file"), "bootstrap.py invoke", "no-such-file"),
    (("submit",), "bootstrap.py submit", "Give one transaction as JSON, or a file with --file"),
    (("submit", "--map", "{}"), "bootstrap.py submit", "--map is for a file: give one with --file"),
    (("submit", "--map", "--queue", "{}"), "bootstrap.py submit", "Give --map or --queue: they are two entrances"),
    (("logs", "--since", "soon"), "bootstrap.py logs", "'soon'"),
    ((), "bootstrap.py", "No such option '--"),
]


@pytest.mark.parametrize("flag", ["--json", "--events"])
@pytest.mark.parametrize(("arguments", "command", "why"), WRONG_USAGE)
def test_wrong_usage_is_one_document_too(flag: str, arguments: tuple[str, ...], command: str, why: str) -> None:
    shown = CliRunner().invoke(bootstrap.main, [*arguments, flag], prog_name="bootstrap.py")
    document = json.loads(shown.stdout)
    assert (shown.exit_code, list(document)) == (2, ["what", "why", "next_step", "commands"])
    assert document["what"] == f"./{command} was not run"
    assert why in document["why"]
    assert document["next_step"] == f"Read what it takes: ./{command} --help"
    assert document["commands"] == [f"./{command} --help".split()]
    assert (flag == "--events") == (shown.stdout.count("\n") == 1)
    assert why in shown.stderr
    assert f"Usage: {command}" in shown.stderr


@pytest.mark.parametrize("arguments", [arguments for arguments, *_ in WRONG_USAGE[:-1]])
def test_wrong_usage_is_text_alone_where_nobody_asked_for_json(arguments: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(bootstrap.main, arguments)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "Error: " in shown.stderr


def test_an_argument_that_looks_like_the_option_asks_for_nothing() -> None:
    shown = CliRunner().invoke(bootstrap.main, ["status", "--", "--json"])
    assert (shown.exit_code, shown.stdout) == (2, "")


def test_submit_says_that_it_takes_a_transaction_or_a_file() -> None:
    shown = CliRunner().invoke(bootstrap.main, ["submit", "--help"])
    assert "submit [OPTIONS] {JSON|--file FILE}" in shown.output


@pytest.mark.parametrize("chosen", [None, "empty"])
def test_processes_stand_on_nothing(chosen: str | None, tmp_path: Path) -> None:
    assert base_of(Context(project=tmp_path, base=chosen, chosen_runtime="process")) == "empty"


def test_containers_with_nothing_but_the_function_in_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no operating system"):
        base_of(Context(project=tmp_path, base="empty", chosen_runtime="docker"))
    assert base_of(Context(project=tmp_path, base="oci:layout", chosen_runtime="docker")) == "oci:layout"
    assert base_of(Context(project=tmp_path, base="empty", target_name="aws")) == "empty"


def test_a_bug_keeps_its_traceback() -> None:
    @command("For a test.")
    def bug(_context: Context) -> Outcome:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        bootstrap.run(bug, Choices("dev", "local", None, *TEXT, context={}, own={}))


def test_only_the_command_line_prints_and_exits() -> None:
    found = []
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "cfn").rglob("*.py"), *(ROOT / "commands").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_templates_that_cannot_be_written_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    shown = CliRunner().invoke(bootstrap.main, ["synth", "--out", str(tmp_path / "file" / "templates")])
    assert shown.exit_code == 1
    assert "registry.json could not be written" in shown.output
    assert "or name another folder." in shown.output


def test_templates_need_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "file"))
    shown = CliRunner().invoke(bootstrap.main, ["synth", "--out", str(tmp_path / "templates")])
    assert shown.exit_code == 0, shown.output
    assert len(list((tmp_path / "templates").iterdir())) == 2


def test_a_progressive_switch_is_checked_and_left_out_where_nothing_shifts(tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text('[project]\nworkflow = "transactions"\n[defaults]\nrelease = "LambdaCanary10Percent5Minutes"\n')
    assert Context(project=tmp_path).settings.release == "AllAtOnce"
    assert Context(project=tmp_path, target_name="aws").settings.release == "LambdaCanary10Percent5Minutes"
    file.write_text('[project]\nworkflow = "transactions"\n[defaults]\nrelease = "LambdaCanary"\n')
    with pytest.raises(SettingsError, match="release is 'LambdaCanary' and CodeDeploy has"):
        _ = Context(project=tmp_path).settings


def test_doctor_prints_the_least_policy_of_each_command_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    every = CliRunner().invoke(bootstrap.main, ["doctor", "--policy", "--region", "us-gov-west-1"])
    one = CliRunner().invoke(bootstrap.main, ["doctor", "--policy=status", "--region", "us-gov-west-1"])
    assert json.loads(every.stdout)["status"] == json.loads(one.stdout)
    assert "arn:aws-us-gov:lambda:us-gov-west-1:*:function:fraud-detection-dev" in one.stdout
    unknown = CliRunner().invoke(bootstrap.main, ["doctor", "--policy", "deploy"])
    assert unknown.exit_code == 2
    assert "'deploy' is not one of up, infra" in unknown.output


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CliRunner().invoke(bootstrap.main, ["--version"]).output.endswith(f" {project['version']}\n")


@pytest.mark.parametrize("name", MODULES)
def test_the_help_of_a_command_has_an_example_that_it_takes(name: str) -> None:
    shown = CliRunner().invoke(bootstrap.main, [name, "--help"]).output
    assert f"Example: ./bootstrap.py {EXAMPLES[name]}" in " ".join(shown.split())
    command = bootstrap.main.get_command(click.Context(bootstrap.main), name)
    assert command is not None
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    words = EXAMPLES[name].split()
    assert words[0] == name
    assert {word for word in words if word.startswith("-")} <= options
    if any(isinstance(each, click.Argument) and each.required for each in command.params):
        assert len(words) > 1


def test_there_is_no_example_of_another_command() -> None:
    assert set(EXAMPLES) == set(MODULES)
