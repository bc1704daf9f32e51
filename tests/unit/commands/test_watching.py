"""What ends a watch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from commands.watching import _Watcher
from pipeline.core.errors import StackError
from pipeline.core.locks import Presence
from pipeline.target import Target


def local(identity: str) -> Target:
    return Target("local", "us-east-1", None, "http://127.0.0.1:4566", identity=identity)


def watcher(before: str, now: str) -> _Watcher:
    context: Any = SimpleNamespace(environment="dev", target_name="local", running_target=lambda: local(now))
    return _Watcher(cast(Any, context), Presence(None), target=local(before))


def test_a_watch_goes_on_with_the_embedded_aws_that_it_was_started_on() -> None:
    watcher("one", "one")._require_environment()


def test_a_watch_does_not_go_on_with_another_embedded_aws_at_the_same_address() -> None:
    with pytest.raises(StackError, match="two runs in place of its embedded AWS, one"):
        watcher("one", "two")._require_environment()
