"""The messages of SQS's queues, journalled.

After each call the queue is compared with what was journalled of it:

    ["message", queue ARN, message]       a new message
    ["fields", queue ARN, id, {…}]        receipt handle, visibility and receive counts of a message
    ["gone", queue ARN, [id, …]]          deleted, moved or expired messages
    ["fifo", queue ARN, cache, number]    the deduplication of a FIFO queue
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.durable.journal import Entry, Journal
from pipeline.local.emulator.patches.patch import Patch

MESSAGES_RELIED_ON = {
    "services.sqs:_get_q": "(url, action=None)",
    "services.sqs:_queue_by_arn": "(arn)",
    "services.sqs:_queues": "AccountRegionScopedDict",
}
_FIELDS = ("receipt_handle", "visible_at", "receive_count", "first_receive_at")
_FORGETS = "keeps messages in memory until it stops"
_KEEPS = "a message that was accepted is kept, and one that was deleted is gone"
_SOURCE = "docs/local.md"


class QueueJournal:
    """Writes what changed in a queue since it was last looked at."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._known: dict[str, dict[str, tuple[Any, ...]]] = {}

    def look(self, queue: dict[str, Any] | None) -> None:
        if queue is None:
            return
        with self.journal.lock:
            arn = queue["attributes"]["QueueArn"]
            known = self._known.setdefault(arn, {})
            entries = self._changes(arn, queue["messages"], known)
            if entries and queue["is_fifo"]:
                entries.append(["fifo", arn, queue["dedup_cache"], queue["fifo_seq"]])
            self.journal.write(*entries)

    def learn(self) -> None:
        """Take all messages as journalled: they were just loaded."""
        sqs = importlib.import_module("ministack.services.sqs")
        for queue in sqs._queues._data.values():
            self._known[queue["attributes"]["QueueArn"]] = {each["id"]: _fields(each) for each in queue["messages"]}

    def _changes(self, arn: str, messages: list[Any], known: dict[str, tuple[Any, ...]]) -> list[Entry]:
        messages = list(messages)
        if len(messages) == len(known) + 1 and messages[-1]["id"] not in known:
            last = messages[-1]  # the usual case, without a walk over all messages
            known[last["id"]] = _fields(last)
            return [["message", arn, last]]
        entries: list[Entry] = []
        present = set()
        for each in messages:
            present.add(each["id"])
            fields = _fields(each)
            before = known.get(each["id"])
            if before is None:
                entries.append(["message", arn, each])
            elif before != fields:
                entries.append(["fields", arn, each["id"], dict(zip(_FIELDS, fields, strict=True))])
            known[each["id"]] = fields
        if gone := [each for each in known if each not in present]:
            entries.append(["gone", arn, gone])
            for each in gone:
                del known[each]
        return entries


def _fields(message: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(message.get(name) for name in _FIELDS)


def message_patches(queues: QueueJournal) -> tuple[Patch, ...]:
    """The rows: calls of clients, of state machines, of SNS and of event source mappings."""

    def look_at(sqs: Any, url: str) -> None:
        try:
            queue = sqs._get_q(url)
        except sqs._Err:
            return  # deleted by this call
        queues.look(queue)
        policy = queue["attributes"].get("RedrivePolicy")
        if policy:
            queues.look(sqs._queue_by_arn(sqs.json.loads(policy).get("deadLetterTargetArn", "")))

    def dispatch(original: Any, sqs: Any) -> Any:
        async def _dispatch(action: str, data: dict[str, Any], qurl: str) -> Any:
            try:
                return await original(action, data, qurl)
            finally:
                if url := data.get("QueueUrl", qurl):
                    look_at(sqs, url)

        return _dispatch

    def send(original: Any, sqs: Any) -> Any:
        def _act_send_message(data: dict[str, Any], qurl: str) -> Any:
            answer = original(data, qurl)
            look_at(sqs, data.get("QueueUrl", qurl))
            return answer

        return _act_send_message

    def poll(original: Any, sqs: Any) -> Any:
        def polled(queue_url: str, *more: Any) -> Any:
            answer = original(queue_url, *more)
            look_at(sqs, queue_url)
            return answer

        return polled

    def deliver(original: Any, sns: Any) -> Any:
        def _deliver_to_sqs(endpoint: str, *more: Any, **named: Any) -> None:
            original(endpoint, *more, **named)
            queues.look(sns._sqs._queue_by_arn(endpoint))

        return _deliver_to_sqs

    return (
        Patch("services.sqs:_dispatch", "6a429fdb61ebdc5a", _FORGETS, _KEEPS, _SOURCE, dispatch),
        Patch("services.sqs:_act_send_message", "3abd766508c885c6", _FORGETS, _KEEPS, _SOURCE, send),
        Patch("services.sqs:_receive_messages_for_esm", "f230dbcd4974adcf", _FORGETS, _KEEPS, _SOURCE, poll),
        Patch("services.sqs:_delete_messages_for_esm", "c1686f29b48b42ee", _FORGETS, _KEEPS, _SOURCE, poll),
        Patch("services.sns:_deliver_to_sqs", "f85849838ccafc6a", _FORGETS, _KEEPS, _SOURCE, deliver),
    )


def replay_messages(journal: Journal, first: int) -> tuple[int, int]:
    """Apply the entries to the loaded queues; how many were applied, and how many belong to no queue."""
    sqs = importlib.import_module("ministack.services.sqs")
    queues = {queue["attributes"]["QueueArn"]: queue for queue in sqs._queues._data.values()}
    indexes = {arn: {each["id"]: each for each in queue["messages"]} for arn, queue in queues.items()}
    applied = homeless = 0
    for kind, arn, *more in journal.replay(first):
        if arn not in queues:
            homeless += 1
            continue
        index = indexes[arn]
        match kind:
            case "message":
                index[more[0]["id"]] = more[0]
            case "fields":
                index.get(more[0], {}).update(more[1])
            case "gone":
                for each in more[0]:
                    index.pop(each, None)
            case "fifo":
                queues[arn]["dedup_cache"], queues[arn]["fifo_seq"] = more
        applied += 1
    for arn, index in indexes.items():
        queues[arn]["messages"] = list(index.values())
    return applied, homeless


def queues_signature() -> str:
    """What changes with the queues, but not with their messages."""
    sqs = importlib.import_module("ministack.services.sqs")
    return repr(
        [
            (key, {name: value for name, value in queue["attributes"].items() if "NumberOf" not in name}, queue["tags"])
            for key, queue in list(sqs._queues._data.items())
        ]
    )
