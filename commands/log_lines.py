"""Log events as lines for people."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.operations.logs import LogEvent

_COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta")
_LEVELS = {"WARNING": "yellow", "WARN": "yellow", "ERROR": "red", "CRITICAL": "red", "FATAL": "red"}
# Fields of every line of the project's functions, left out for readability.
_NOISE = frozenset(
    {"level", "message", "timestamp", "location", "service", "cold_start", "xray_trace_id", "requestId", "stackTrace"}
)


class LogLines:
    """Log events as lines for people: time, source and content, with a colour per source."""

    def __init__(self, sources: Sequence[str], colour: bool) -> None:
        self._width = max(len(source) for source in sources)
        self._colours = {source: _COLOURS[number % len(_COLOURS)] for number, source in enumerate(sources)}
        self._colour = colour
        self._today = time.strftime("%Y-%m-%d", time.gmtime())

    def text(self, event: LogEvent) -> str:
        day = f"{event.time:%Y-%m-%d}"
        moment = f"{event.time:%H:%M:%S}.{event.at % 1000:03d}"
        if day != self._today:
            moment = f"{day} {moment}"
        who = self._style(f"{event.source:<{self._width}}", fg=self._colours[event.source])
        return f"{self._style(moment, dim=True)}  {who}  {self._what(event.content)}"

    def _what(self, content: Any) -> str:
        if not isinstance(content, dict):
            platform = str(content).startswith(("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START"))
            return self._style(str(content).replace("\t", "  "), dim=True) if platform else str(content)
        if "_aws" in content:  # metrics in CloudWatch's embedded format
            metrics = [
                each["Name"] for group in content["_aws"].get("CloudWatchMetrics", []) for each in group["Metrics"]
            ]
            values = " ".join(f"{name}={_value(content.get(name))}" for name in metrics)
            return self._style(f"metrics {values}", dim=True)
        if "execution_arn" in content:
            name = str(content["execution_arn"]).split(":", 7)[-1]
            details = json.dumps(content.get("details", {}), ensure_ascii=False)
            return f"{content.get('type', '')} {details} {self._style(f'execution={name}', dim=True)}"
        level = str(content.get("level", ""))
        said = content.get("message", content.get("errorMessage", ""))
        rest = {name: value for name, value in content.items() if not _is_noise(name)}
        words = [
            self._style(level, fg=_LEVELS.get(level, "green")),
            said if isinstance(said, str) else json.dumps(said),
        ]
        words += [f"{self._style(name, dim=True)}={_value(value)}" for name, value in rest.items()]
        return " ".join(word for word in words if word)

    def _style(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colour and text else text


def _is_noise(name: str) -> bool:
    return name in _NOISE or name.startswith("function_")


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def wants_colour(is_terminal: bool) -> bool:
    """Colour on terminals only, and never with NO_COLOR (no-color.org) or on a dumb terminal."""
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
