"""When the states of the services are written, and what the next start reads.

Items and messages are journalled as they change. Everything else is written a moment after a change, once no stack and
no function is changing, so that what is read again fits together; ``Unsaved`` names what was acknowledged in between.
Log events and metrics, which grow with each transaction, are written when the embedded AWS stops.
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.local.emulator.durable.changing_calls import changes_state
from pipeline.local.emulator.durable.items import (
    ITEMS_RELIED_ON,
    item_patches,
    replay_items,
    tables_signature,
)
from pipeline.local.emulator.durable.journal import Journal
from pipeline.local.emulator.durable.messages import (
    MESSAGES_RELIED_ON,
    QueueJournal,
    message_patches,
    queues_signature,
    replay_messages,
)
from pipeline.local.emulator.durable.state_files import (
    Unsaved,
    finish_replacing,
    forget_blobs,
    keep_blob,
    read_blob,
    replace_together,
)
from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.signatures import Request

# A file in the state's folder: the last run saved its state completely.
SAVED = "saved"
# What the start found, for the host: a list of sentences as JSON.
RECOVERED = "recovered"
# With the states: the first segment of each journal that they do not contain.
_SEGMENTS = "journal-segments"
# How long a change waits for others before they are saved together (seconds).
QUIET_SECONDS = 0.25
# Bytes of a journal after which its service is saved, so that it starts again.
JOURNAL_MAX = 256 << 20
# Services whose states grow with each transaction: the part that grows, and the other stores of the module.
_GROWING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cloudwatch": ("metrics", ("alarms", "composite_alarms", "dashboards", "resource_tags")),
    "cloudwatch_logs": (
        "log_groups",
        (
            "deliveries", "delivery_destinations", "delivery_sources", "destinations", "log_group_policies",
            "metric_filters", "resource_policies",
        ),
    ),
}  # fmt: skip
# The file with the stores of such a service that do not grow, newer than its complete state.
_SETTINGS = "-settings"

DURABLE_RELIED_ON: Mapping[str, str] = {
    **ITEMS_RELIED_ON,
    **MESSAGES_RELIED_ON,
    "core.persistence:_json_default": "(obj)",
    "core.persistence:_state_format_version": "(service)",
    "services.cloudformation:_change_sets": "AccountRegionScopedDict",
    "services.cloudformation:_stacks": "AccountRegionScopedDict",
}

log = logging.getLogger("pipeline.local.emulator.durable")


class DurableState:
    """The state in ``folder``.

    identity  of this embedded AWS; a journal of another one is not replayed
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._unsaved = Unsaved(folder)
        self._items = Journal(folder, "items", identity)
        self._messages = Journal(folder, "messages", identity)
        self._queues = QueueJournal(self._messages)
        self._saving = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._segments = {"items": 0, "messages": 0}
        self._signatures: dict[str, str] = {}
        self._written: dict[str, int] = {}

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "app:_load_persisted_state",
                "03de3b870e8f811f",
                "continues from the state of the last regular stop",
                "what was answered is kept",
                "docs/local.md",
                lambda original, _module: lambda: self._load(original),
            ),
            Patch(
                "app:load_state",
                "1796603c91a178d6",
                "reads what it has written",
                "reads what ``DurableState`` has written",
                "docs/local.md",
                lambda original, _module: lambda service: self._read(original, service),
            ),
            *item_patches(self._items),
            *message_patches(self._queues),
        )

    def served(self, service: str, request: Request) -> None:
        """Called before each answer; ``service`` as the request's signature names it. Raises OSError."""
        if changes_state(service, request):
            self._unsaved.note(service)
            self._wake.set()

    def finish(self) -> bool:
        """Save everything, and let nothing be written after it; whether that succeeded."""
        self._ended = True
        self._wake.set()
        try:
            self._save(complete=True)
        except Exception:
            log.exception("the state was not saved")
            return False
        (self._folder / SAVED).touch()
        return True

    def _load(self, load: Callable[[], None]) -> None:
        finish_replacing(self._folder)
        unsaved = self._unsaved.read()
        (self._folder / RECOVERED).unlink(missing_ok=True)
        self._segments |= self._read_segments()
        load()
        counts = {
            "item": replay_items(self._items, self._segments["items"]),
            "message": replay_messages(self._messages, self._segments["messages"]),
        }
        self._queues.learn()
        self._items.begin()
        self._messages.begin()
        found = _describe(counts, unsaved, [*self._items.damaged, *self._messages.damaged])
        (self._folder / RECOVERED).write_text(json.dumps(found))
        self._unsaved.saved()
        threading.Thread(target=self._save_changes, daemon=True, name="save-changes").start()

    def _read_segments(self) -> dict[str, int]:
        try:
            found = json.loads((self._folder / f"{_SEGMENTS}.json").read_bytes())
            return {name: int(found[name]) for name in self._segments}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _read(self, load_state: Callable[[str], Any], service: str) -> Any:
        state = load_state(service)
        if service == "ecr" and state:
            for layers in state["layer_blobs"]._data.values():
                for digest, content in list(layers.items()):
                    if content is None:
                        layers[digest] = read_blob(self._folder, digest)
                        if layers[digest] is None:
                            del layers[digest]
        if service in _GROWING:
            return _with_settings(service, state, load_state(service + _SETTINGS))
        return state

    def _save_changes(self) -> None:
        while not self._ended:
            self._wake.wait(10)
            time.sleep(QUIET_SECONDS)
            if not self._wake.is_set() and max(self._items.size, self._messages.size) < JOURNAL_MAX:
                continue
            self._wake.clear()
            while not self._ended and _is_changing():
                time.sleep(0.05)
            if not self._ended:
                try:
                    self._save(complete=False)
                except Exception:
                    log.exception("changes were not saved")
                    self._wake.set()

    def _save(self, *, complete: bool) -> None:
        app = importlib.import_module("ministack.app")
        with self._saving:
            if self._ended and not complete:
                return
            self._unsaved.begin_saving()
            segments = dict(self._segments)
            documents: dict[str, str] = {}
            layers: list[str] | None = None
            for service, get_state in app._build_persistence_save_dict().items():
                if not complete and not self._needs_saving(service, segments):
                    continue
                if complete and service in ("dynamodb", "sqs"):
                    self._begin_segment(service, segments)
                if service in _GROWING:
                    name = service + _SETTINGS
                    documents[name] = _document(name, None if complete else _stable(partial(_settings, service)))
                    if not complete:
                        continue
                state = _stable(get_state)
                if state is None:
                    continue
                if service == "ecr":
                    state, layers = self._keep_layers(state)
                documents[service] = _document(service, state)
            changed = {name: text for name, text in documents.items() if self._written.get(name) != hash(text)}
            changed[_SEGMENTS] = json.dumps(segments)
            replace_together(self._folder, changed)
            self._written |= {name: hash(text) for name, text in changed.items()}
            self._segments = segments
            self._unsaved.saved()
            self._items.forget(segments["items"])
            self._messages.forget(segments["messages"])
            if layers is not None:
                forget_blobs(self._folder, layers)

    def _needs_saving(self, service: str, segments: dict[str, int]) -> bool:
        """Whether a service is written now. Tables and queues with their content are, when they change themselves."""
        if service not in ("dynamodb", "sqs"):
            return True
        signature, journal = (
            (tables_signature(), self._items) if service == "dynamodb" else (queues_signature(), self._messages)
        )
        if self._signatures.get(service) == signature and journal.size < JOURNAL_MAX:
            return False
        self._signatures[service] = signature
        self._begin_segment(service, segments)
        return True

    def _begin_segment(self, service: str, segments: dict[str, int]) -> None:
        """Changes from now on go to a new segment; those that the state contains already do no harm."""
        if service == "dynamodb":
            segments["items"] = self._items.begin()
        else:
            segments["messages"] = self._messages.begin()

    def _keep_layers(self, state: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
        """The registry's state with its layers in files of their own, and their digests."""
        layers = copy.copy(state["layer_blobs"])
        layers._data = {key: dict.fromkeys(found) for key, found in layers._data.items()}
        digests = []
        for found in state["layer_blobs"]._data.values():
            for digest, content in found.items():
                keep_blob(self._folder, digest, content)
                digests.append(digest)
        return {**state, "layer_blobs": layers}, digests


def _stable(read: Callable[[], Any]) -> Any:
    for attempt in range(5):
        try:
            return read()
        except RuntimeError:  # a thread changed what was being copied
            if attempt == 4:
                raise
            time.sleep(0.01)
    raise AssertionError("unreachable")


def _document(name: str, state: Any) -> str:
    persistence = importlib.import_module("ministack.core.persistence")
    wrapped = {"__ministack_format__": persistence._state_format_version(name), "payload": state}
    return json.dumps(wrapped, default=persistence._json_default)


def _settings(service: str) -> dict[str, Any]:
    """The state of a growing service without log events or data points."""
    module = importlib.import_module(f"ministack.services.{service}")
    growing, stores = _GROWING[service]
    kept = {name: copy.deepcopy(getattr(module, f"_{name}")) for name in stores}
    if service == "cloudwatch_logs":
        kept[growing] = type(module._log_groups)()
        kept[growing]._data = {key: {**group, "streams": {}} for key, group in list(module._log_groups._data.items())}
    return kept


def _with_settings(service: str, state: Any, settings: Any) -> Any:
    """The complete state of the last regular stop with the settings that were written since."""
    if not settings:
        return state
    if service == "cloudwatch_logs":
        before = state["log_groups"]._data if state else {}
        for key, group in settings["log_groups"]._data.items():
            if key in before and before[key]["creationTime"] == group["creationTime"]:
                group["streams"] = before[key]["streams"]
    return {**(state or {}), **settings}


def _is_changing() -> bool:
    """Whether a stack or a function is on its way from one state to another."""
    cloudformation = importlib.import_module("ministack.services.cloudformation")
    lambda_svc = importlib.import_module("ministack.services.lambda_svc")
    stacks = (str(each.get("StackStatus")) for each in list(cloudformation._stacks._data.values()))
    changes = (each for each in list(cloudformation._change_sets._data.values()))
    functions = (each["config"] for each in list(lambda_svc._functions._data.values()))
    return (
        any(status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS" for status in stacks)
        or any("IN_PROGRESS" in (each.get("Status"), each.get("ExecutionStatus")) for each in changes)
        or any(each.get("State") == "Pending" or each.get("LastUpdateStatus") == "InProgress" for each in functions)
    )


def _describe(counts: Mapping[str, tuple[int, int]], unsaved: Mapping[str, str], damaged: list[str]) -> list[str]:
    """What was replayed and what is missing, as sentences; empty after a regular stop."""
    found: list[str] = []
    if applied := [f"{count:,} {name} changes" for name, (count, _) in counts.items() if count]:
        found.append(f"Its journal restored {' and '.join(applied)}.")
    missing = [f"changes to {service} since {since} UTC" for service, since in unsaved.items()]
    missing += [
        f"{count:,} {name} changes without their table or queue" for name, (_, count) in counts.items() if count
    ]
    if missing := [*missing, *damaged]:
        found.append(f"Lost: {'; '.join(missing)}.")
    return found
