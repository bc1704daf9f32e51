"""A real Chromium without a window, for tests: opened on an address, or driven page by page.

It is driven over a pipe (``--remote-debugging-pipe``) with the Chrome DevTools Protocol: one JSON document after the
other, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SECONDS = 60


def missing(reason: str) -> None:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get("REQUIRE_EVERYTHING") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _command(folder: Path, *options: str) -> list[str]:
    program = next((found for each in BROWSERS if (found := shutil.which(each))), None)
    if program is None:
        missing("no Chromium is installed, such as by: apt-get install chromium-headless-shell")
    return [
        str(program), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={folder}", "--host-resolver-rules=MAP *.example 127.0.0.1", *options,
    ]  # fmt: skip


@contextlib.contextmanager
def _running(folder: Path, command: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True, env=os.environ | {"HOME": str(folder)}, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.contextmanager
def browser(folder: Path, url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Open a page. Every name in ``.example`` is an address of this machine, as an attacker's DNS would say."""
    with _running(folder, [*_command(folder, *options), url]) as process:
        yield process


class Browser:
    """A browser that is driven; see ``driven_browser``."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result; events that come before it are kept in ``events``."""
        self._number += 1
        document = {"id": self._number, "method": method, "params": parameters}
        if session:
            document["sessionId"] = session
        os.write(self._writing, json.dumps(document).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            block = os.read(self._reading, 1 << 20)
            assert block, "the browser has ended"
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\0")
        document: dict[str, Any] = json.loads(line)
        return document

    def page(self) -> Page:
        """A new page with cookies of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        return Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"], context)


class Page:
    """A page of the browser. Selectors are CSS; waits fail after SECONDS."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self.context = browser, session, context
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def another(self) -> Page:
        """Another page with the same cookies."""
        target = self._browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)
        attached = self._browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        return Page(self._browser, attached["sessionId"], self.context)

    def open(self, url: str) -> Page:
        self.run("window.old = true")
        assert "errorText" not in self.call("Page.navigate", url=url), url
        self.wait("!window.old && document.readyState === 'complete'")
        return self

    def run(self, script: str) -> Any:
        """The value of an expression, also of a promise. It runs where scripts are off, too."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true; a page that is being replaced meanwhile has no value."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError):
                if self.run(condition):
                    return
            time.sleep(0.05)
        state = self.run("document.URL + ' ' + document.readyState + ' ' + document.documentElement.outerHTML")
        last = [event for event in self._browser.events if event.get("sessionId") == self._session][-5:]
        raise AssertionError(f"{condition} was not true within {SECONDS} s: {state[:2000]}\n{json.dumps(last)[:2000]}")

    def text(self, selector: str = "body") -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def fill(self, selector: str, value: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    def click(self, selector: str) -> None:
        """Click, and wait for the page that follows."""
        self.run(f"window.old = true; document.querySelector({json.dumps(selector)}).click()")
        self.wait("!window.old && document.readyState === 'complete'")

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def show(self, *, width: int = 1200, dark: bool = False) -> None:
        """The width of the window in pixels, and the colour scheme that the user prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def without_scripts(self) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def screenshot(self, path: Path) -> None:
        """The whole page, in the format of the file's suffix."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, format=path.suffix[1:])
        path.write_bytes(base64.b64decode(answer["data"]))

    def complaints(self) -> list[str]:
        """What the browser has logged as wrong, except for pages with an error status."""
        self.run("1")  # so that what was logged before has arrived
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            entry = event["params"]["entry"] if event["method"] == "Log.entryAdded" else {}
            if entry.get("level") == "error" and "the server responded with a status" not in entry["text"]:
                found.append(str(entry["text"]))
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"]))
        return found


@contextlib.contextmanager
def driven_browser(folder: Path) -> Iterator[Browser]:
    """A browser that is driven over a pipe, until the end of the block."""
    command = _command(folder, "--remote-debugging-pipe")
    pipes = [os.pipe(), os.pipe()]
    # It reads from 3 and writes to 4; pipes above them cannot be overwritten by each other.
    commands, answers = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (pipes[0][0], pipes[1][1]))
    for end in (pipes[0][0], pipes[1][1]):
        os.close(end)
    started = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", *command]
    try:
        with _running(folder, started, pass_fds=[commands, answers]):
            for end in (commands, answers):
                os.close(end)
            yield Browser(pipes[1][0], pipes[0][1])
    finally:
        os.close(pipes[1][0])
        os.close(pipes[0][1])
