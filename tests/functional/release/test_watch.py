"""Saved files go live by themselves: the command runs as a user runs it, and files are saved as editors save them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.interruption import PATIENCE
from pipeline.local.host.control import find_local
from tests.functional.command_line import CommandLine, copy_project
from tests.functional.conftest import EmbeddedAws

SECONDS = 30.0


class Watch:
    """A running ``watch``: its output, line by line. terminal: with a terminal for questions."""

    def __init__(self, line: CommandLine, *options: str, terminal: bool = False) -> None:
        self.line = line
        self.images = line.project / "images"
        environment = os.environ | {
            "TRANSACTION_PIPELINE_LOCAL": str(line.local),
            "TRANSACTION_PIPELINE_CACHE": str(line.cache),
        }
        self._keyboard, screen = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(line.project / "bootstrap.py"), "watch", "--json", *options],
            cwd=line.project, env=environment, stdin=screen if terminal else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=screen if terminal else subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(screen)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        stream = self.process.stderr or os.fdopen(self._keyboard, closefd=False)
        with stream, contextlib.suppress(OSError):  # which is how a terminal ends
            for line in stream:
                self._lines.put(line)

    def press(self, keys: str) -> None:
        """Answer a question at the terminal."""
        os.write(self._keyboard, keys.encode())

    def says(self, text: str) -> str:
        """The next line with ``text`` in it."""
        until, said = time.monotonic() + SECONDS, []
        while time.monotonic() < until:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                assert self.process.poll() is None, "".join(said)
                continue
            said.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was not said, but: {''.join(said)}")

    def is_silent(self, seconds: float) -> bool:
        try:
            self._lines.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def stop(self) -> Any:
        """Ctrl-C; the result."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        assert self.process.wait(20) == 0
        return json.loads(out)

    def ended(self) -> Any:
        """The error that it ends with by itself."""
        assert self.process.wait(SECONDS) == 1
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.read())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._reader.join()
        os.close(self._keyboard)

    def answer(self, function: str = "compliance-checking") -> Any:
        """What the function answers to a transaction, through the alias that the workflow calls."""
        event = {
            "transaction": {
                "transaction_id": "watched-1", "amount": "100.00", "currency": "USD", "merchant_id": "m",
                "customer_id": "c",
            },
            "received_at": "2026-11-23T14:00:00.000Z",
        }  # fmt: skip
        answer = self.line.client("lambda").invoke(
            FunctionName=f"{function}-dev", Qualifier="live", Payload=json.dumps(event)
        )
        return json.loads(answer["Payload"].read())


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    folder = tmp_path_factory.mktemp("watch")
    watch = Watch(CommandLine(folder / "local", project=copy_project(folder / "project")))
    try:
        watch.says("watching images/")
        yield watch
    finally:
        watch.close()
        watch.line.run("down", "--yes")


def tagged(file: Path, tag: str, function: str = "judge") -> str:
    """The module's text with every answer carrying ``tag``."""
    text = file.read_text()
    start = text.index("\nhandle = lambda_handler(")
    return (
        text[:start]
        + f"\n\ndef tagging(invocation):\n    return {{**{function}(invocation), 'tag': {tag!r}}}\n\n\n"
        + "handle = lambda_handler(tagging)\n"
    )


@pytest.fixture
def handler(watch: Watch) -> Path:
    return watch.images / "compliance-checking" / "handler.py"


def test_a_saved_file_is_live(watch: Watch, handler: Path) -> None:
    handler.write_text(tagged(handler, "first"))
    said = watch.says("live after")
    assert watch.answer()["tag"] == "first"
    assert "compliance-checking/handler.py: compliance-checking " in said
    assert all(f"{step} " in said for step in ("seen", "check", "build", "push", "switch", "verify"))


def test_a_file_that_is_replaced_as_editors_do_it_is_live(watch: Watch, handler: Path) -> None:
    beside = handler.with_name(".handler.py.swp")
    beside.write_text(handler.read_text().replace("'first'", "'second'"))
    beside.replace(handler)
    watch.says("live after")
    assert watch.answer()["tag"] == "second"


def test_several_saves_are_one_release(watch: Watch, handler: Path) -> None:
    text = handler.read_text()
    for number in range(20):
        handler.write_text(text.replace("'second'", f"'save {number}'"))
    watch.says("live after")
    assert watch.answer()["tag"] == "save 19"
    handler.write_text(text)
    watch.says("live after")
    assert watch.answer()["tag"] == "second"


def test_a_syntax_error_is_shown_and_the_last_good_image_stays(watch: Watch, handler: Path) -> None:
    good = handler.read_text()
    handler.write_text(good + "\ndef half(:\n")
    said = watch.says("stays live")
    assert f"compliance-checking/handler.py:{len(good.splitlines()) + 2}" in said
    assert watch.answer()["tag"] == "second"
    handler.write_text(good)
    assert "fixed" in watch.says("handler.py")
    handler.write_text(good.replace("'second'", "'third'"))
    watch.says("live after")
    assert watch.answer()["tag"] == "third"


def test_what_was_saved_while_another_file_was_broken_is_released_with_the_mend(watch: Watch, handler: Path) -> None:
    scoring = watch.images / "fraud-detection" / "scoring.py"
    good = scoring.read_text()
    scoring.write_text(good + "\nclass Half(:\n")
    watch.says("stays live")
    handler.write_text(handler.read_text().replace("'third'", "'fourth'"))
    watch.says("stays live")
    assert watch.answer()["tag"] == "third"
    scoring.write_text(good)
    watch.says("live after")
    assert watch.answer()["tag"] == "fourth"


@pytest.mark.parametrize("name", [".handler.py.swp", "handler.py~", ".#handler.py", "test_x.py", "__pycache__/x.pyc"])
def test_files_that_no_image_has_release_nothing(watch: Watch, handler: Path, name: str) -> None:
    file = handler.parent / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("nothing\n")
    assert watch.is_silent(0.35)
    file.unlink()


def test_a_file_that_is_saved_unchanged_releases_nothing(watch: Watch, handler: Path) -> None:
    handler.write_bytes(handler.read_bytes())
    assert watch.is_silent(0.5)


def test_a_shared_file_is_live_in_every_function(watch: Watch) -> None:
    shared = watch.images / "transactions" / "money.py"
    shared.write_text(shared.read_text() + "\n# one line more\n")
    said = watch.says("live after")
    assert all(name in said for name in ("compliance-checking", "fraud-detection", "transaction-validation"))


def test_a_changed_manifest_is_a_whole_release(watch: Watch) -> None:
    manifest = watch.images / "compliance-checking" / "function.toml"
    manifest.write_text(manifest.read_text().replace("memory = 1769", "memory = 2048"))
    watch.says("dev is up to date")
    configuration = watch.line.client("lambda").get_function_configuration(FunctionName="compliance-checking-dev")
    assert configuration["MemorySize"] == 2048
    assert watch.answer()["tag"] == "fourth"


def test_a_folder_that_is_put_back_is_told_to_be_mended(watch: Watch, tmp_path: Path) -> None:
    folder, kept = watch.images / "fraud-detection", tmp_path / "fraud-detection"
    folder.rename(kept)
    watch.says("it calls fraud-detection, and there is no such function")
    # Moved in as a whole: no event tells of the files in it.
    kept.rename(folder)
    assert "fraud-detection: fixed; dev is up to date" in watch.says("dev is up to date")


def test_a_folder_that_is_moved_in_with_other_files_is_live(watch: Watch, handler: Path, tmp_path: Path) -> None:
    other = tmp_path / "compliance-checking"
    shutil.copytree(handler.parent, other)
    (other / "handler.py").write_text(handler.read_text().replace("'fourth'", "'fifth'"))
    handler.parent.rename(tmp_path / "before")
    other.rename(handler.parent)
    watch.says("compliance-checking")
    until = time.monotonic() + SECONDS
    while watch.answer()["tag"] != "fifth" and time.monotonic() < until:
        time.sleep(0.05)
    assert watch.answer()["tag"] == "fifth"


@pytest.mark.parametrize("file", ["function.toml", "handler.py"])
def test_a_file_that_is_put_back_is_told_to_be_mended(watch: Watch, handler: Path, tmp_path: Path, file: str) -> None:
    (handler.parent / file).rename(tmp_path / file)
    watch.says("The running version stays live")
    (tmp_path / file).rename(handler.parent / file)
    watch.says(f"compliance-checking/{file}: fixed")


def test_the_next_up_finds_everything_released(watch: Watch) -> None:
    released = watch.line.json("up", "--no-smoke", "--no-sbom")
    assert [each["changed"] for each in released["stacks"]] == [False, False]


@pytest.fixture
def extra(handler: Path, away: Path) -> Iterator[Path]:
    """A function that no state calls, so that it can go again."""
    shutil.copytree(handler.parent, away)
    folder = away.rename(handler.parents[1] / "extra")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """Where a folder is put that goes, and comes, with all its files at once."""
    return tmp_path / "extra"


def retagged(handler: Path, tag: str) -> str:
    return re.sub(r"'tag': '\w+'", f"'tag': '{tag}'", handler.read_text())


def functions(watch: Watch) -> set[str]:
    return {each["FunctionName"] for each in watch.line.client("lambda").list_functions()["Functions"]}


def test_a_loss_that_nobody_can_approve_is_told_once_and_holds_nothing_up(
    watch: Watch, handler: Path, extra: Path, away: Path
) -> None:
    watch.says("dev is up to date")
    scoring = watch.images / "fraud-detection" / "scoring.py"
    extra.rename(away)
    said = watch.says("no terminal to ask on")
    assert "ExtraRepository (AWS::ECR::Repository) would be deleted" in said
    assert "./bootstrap.py watch --yes" in said
    assert "./bootstrap.py up --yes" in said
    for tag in ("sixth", "seventh"):
        handler.write_text(retagged(handler, tag))
        said = watch.says("compliance-checking/handler.py")
        assert "live after" in said
        assert watch.answer()["tag"] == tag
    scoring.write_text(scoring.read_text() + "\n# one line more\n")
    assert "fraud-detection/scoring.py: fraud-detection" in watch.says("")
    assert "extra-dev" in functions(watch)
    good = scoring.read_text()
    scoring.write_text(good + "\nclass Half(:\n")
    watch.says("stays live")
    scoring.write_text(good)
    assert watch.says("fixed").endswith("fraud-detection/scoring.py: fixed\n")
    away.rename(extra)
    assert "extra: fixed; dev is up to date" in watch.says("watching images/")


def test_what_is_saved_together_with_a_loss_is_live(watch: Watch, handler: Path, extra: Path, away: Path) -> None:
    watch.says("dev is up to date")
    extra.rename(away)
    handler.write_text(retagged(handler, "eighth"))
    watch.says("no terminal to ask on")
    watch.says("live after")
    assert watch.answer()["tag"] == "eighth"
    # It is approved in another shell.
    watch.line.run("up", "--yes", "--no-smoke", "--no-sbom")
    assert "extra-dev" not in functions(watch)
    handler.write_text(retagged(handler, "ninth"))
    watch.says("live after")
    assert watch.answer()["tag"] == "ninth"


def test_ctrl_c_ends_it_with_what_was_done(watch: Watch) -> None:
    result = watch.stop()
    assert result["failed"] >= 3
    # Twenty saves at once were one change, or a few on a machine that is very busy.
    assert len(result["releases"]) < 25
    assert {each["name"] for each in result["releases"][0]["functions"]} == {"compliance-checking-dev"}
    assert result["releases"][0]["seconds"]["total"] > 0


def test_on_aws_it_has_to_be_meant(watch: Watch) -> None:
    assert "--yes" in watch.line.json("watch", "--target", "aws", code=1)["next_step"]


def test_with_yes_a_loss_is_not_asked_about(watch: Watch, extra: Path, away: Path) -> None:
    approving = Watch(watch.line, "--yes")
    try:
        approving.says("watching images/")
        assert "extra-dev" in functions(watch)
        extra.rename(away)
        approving.says("dev is up to date")
        assert "extra-dev" not in functions(watch)
        assert approving.stop()["failed"] == 0
    finally:
        approving.close()


def test_at_a_terminal_a_loss_is_asked_about(watch: Watch, handler: Path, extra: Path, away: Path) -> None:
    asking = Watch(watch.line, terminal=True)
    try:
        asking.says("watching images/")
        extra.rename(away)
        asking.says("transaction-registry-dev would lose data")
        asking.press("no\n")
        asking.says("it was not approved")
        handler.write_text(retagged(handler, "tenth"))
        asking.says("live after")
        away.rename(extra)
        asking.says("extra: fixed; dev is up to date")
        extra.rename(away)
        for stack in ("registry", "pipeline"):
            asking.says(f"transaction-{stack}-dev would lose data")
            asking.press("yes\n")
        asking.says("dev is up to date")
        assert "extra-dev" not in functions(watch)
        asking.stop()
    finally:
        asking.close()


def test_at_a_question_ctrl_d_is_a_no_and_ctrl_c_the_end(watch: Watch, extra: Path, away: Path) -> None:
    asking = Watch(watch.line, terminal=True)
    try:
        asking.says("watching images/")
        extra.rename(away)
        asking.says("transaction-registry-dev would lose data")
        asking.press("\x04")
        asking.says("it was not approved")
        away.rename(extra)
        asking.says("fixed")
        extra.rename(away)
        asking.says("transaction-registry-dev would lose data")
        asked = time.monotonic()
        assert asking.stop()["failed"] == 1
        assert time.monotonic() - asked < PATIENCE
    finally:
        asking.close()
    watch.line.run("up", "--yes", "--no-smoke", "--no-sbom")


def test_a_start_that_would_lose_something_says_how_to_say_yes(watch: Watch, extra: Path) -> None:
    watch.line.run("up", "--no-smoke", "--no-sbom")
    shutil.rmtree(extra)
    assert "./bootstrap.py watch --yes" in watch.line.json("watch", code=1)["next_step"]
    watch.line.run("up", "--yes", "--no-smoke", "--no-sbom")


class TestWithoutItsEnvironment:
    """The deletion of an environment is reported by ``down`` and ``watch``, and no save creates it again."""

    @pytest.fixture
    def watching(self, watch: Watch) -> Iterator[Watch]:
        watching = Watch(watch.line)
        try:
            watching.says("watching images/")
            yield watching
        finally:
            watching.close()

    @pytest.fixture
    def manifest(self, watching: Watch) -> Path:
        return watching.images / "compliance-checking" / "function.toml"

    @pytest.fixture
    def other(self, watch: Watch) -> Iterator[None]:
        """Another environment, which keeps the embedded AWS running."""
        watch.line.run("infra", "--environment", "other")
        yield
        watch.line.run("down", "--environment", "other")

    def test_down_ends_it(self, watching: Watch) -> None:
        done = watching.line.run("down")
        error = watching.ended()
        assert error["what"] == "dev is no longer watched"
        assert re.fullmatch(r"`\./bootstrap\.py down` \(process \d+\) deletes it", error["why"])
        assert error["next_step"] == "Deploy it again: ./bootstrap.py watch"
        told = f"ended `watch` (process {watching.process.pid}); ./bootstrap.py watch deploys dev again"
        assert told in done.stdout.splitlines()

    def test_down_ends_it_where_another_environment_stays(self, other: None, watching: Watch) -> None:
        done = watching.line.json("down")
        assert (done["watches"], done["stopped"]) == ([watching.process.pid], False)
        assert "`./bootstrap.py down`" in watching.ended()["why"]

    def test_no_save_makes_it_anew(self, other: None, watching: Watch, manifest: Path, handler: Path) -> None:
        down = threading.Thread(target=watching.line.run, args=("down",))
        down.start()
        while down.is_alive():
            for file in (manifest, handler):
                file.write_text(file.read_text() + "# saved meanwhile\n")
            time.sleep(0.1)
        assert "`./bootstrap.py down`" in watching.ended()["why"]
        stacks = watching.line.client("cloudformation").describe_stacks()["Stacks"]
        assert {each["StackName"] for each in stacks} == {"transaction-registry-other", "transaction-pipeline-other"}

    @pytest.mark.parametrize("saved", ["function.toml", "handler.py"])
    def test_stacks_that_were_deleted_from_another_machine_are_told_of(
        self, other: None, watching: Watch, manifest: Path, tmp_path: Path, saved: str
    ) -> None:
        local = find_local(watching.line.local)
        assert local is not None
        CommandLine(tmp_path, watching.line.cache).run("down", **EmbeddedAws.of(local).variables)
        file = manifest.with_name(saved)
        file.write_text(file.read_text() + "# saved afterwards\n")
        assert watching.ended()["why"] == "its stacks were deleted"

    def test_an_embedded_aws_that_ended_is_told_of(self, watching: Watch) -> None:
        os.kill(json.loads((watching.line.local / "local.json").read_text())["pid"], signal.SIGTERM)
        assert watching.ended()["why"] == "its embedded AWS stopped"


def test_what_is_broken_before_anything_runs_is_waited_for(watch: Watch, handler: Path) -> None:
    watch.line.run("down")
    manifest = handler.with_name("function.toml")
    good = manifest.read_text()
    manifest.write_text(good + "nonsense = \n")
    waiting = Watch(watch.line)
    try:
        waiting.says("function.toml: Invalid value")
        assert waiting.is_silent(1.2)
        manifest.write_text(good)
        waiting.says("watching images/")
        waiting.stop()
    finally:
        waiting.close()
