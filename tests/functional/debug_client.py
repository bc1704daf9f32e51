"""A debugger for tests: the part of the Debug Adapter Protocol that an editor speaks to attach, stop and go on."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


class DebugClient:
    """One connection to a debug adapter. Unread messages are kept in order."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        self._kept: list[dict[str, Any]] = []

    def __enter__(self) -> DebugClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def attach(self, breakpoints: dict[Path, list[int]], **arguments: Any) -> None:
        """As an editor does it: initialize, attach, breakpoints, configurationDone."""
        self.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
        self.send("attach", **arguments)
        self.wait(lambda message: message.get("event") == "initialized")
        for path, lines in breakpoints.items():
            body = self.ask(
                "setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": line} for line in lines]
            )
            assert all(each["verified"] for each in body["breakpoints"]), body
        self.ask("configurationDone")
        self.wait(lambda message: message.get("command") == "attach")

    def stopped(self) -> int:
        """The thread that stopped next."""
        return int(self.wait(lambda message: message.get("event") == "stopped")["body"]["threadId"])

    def ask(self, command: str, **arguments: Any) -> Any:
        number = self.send(command, **arguments)
        answer = self.wait(lambda message: message.get("request_seq") == number)
        assert answer["success"], answer
        return answer.get("body")

    def send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        content = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        return self._number

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for message in self._kept:
            if wanted(message):
                self._kept.remove(message)
                return message
        while True:
            message = self._read()
            if wanted(message):
                return message
            self._kept.append(message)

    def _read(self) -> dict[str, Any]:
        length = 0
        while line := self._stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        content = self._stream.read(length)
        assert content, "the adapter hung up"
        message: dict[str, Any] = json.loads(content)
        return message
