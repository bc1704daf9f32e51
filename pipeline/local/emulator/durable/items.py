"""The items of DynamoDB's tables, journalled: ["put", TableId, partition key, sort key, item], ["remove", …]."""

from __future__ import annotations

import importlib
from collections import defaultdict
from typing import Any

from pipeline.local.emulator.durable.journal import Journal
from pipeline.local.emulator.patches.patch import Patch

ITEMS_RELIED_ON = {"services.dynamodb:_tables": "AccountRegionScopedDict"}
_FORGETS = "keeps items in memory until it stops"
_KEEPS = "an answered write is durable"
_SOURCE = "docs/local.md"


def item_patches(journal: Journal) -> tuple[Patch, ...]:
    """The rows: all writes go through these functions of ministack."""

    def put(set_item: Any, _module: Any) -> Any:
        def _set_item(table: Any, pk_val: Any, sk_val: Any, item: Any) -> Any:
            with journal.lock:
                journal.write(["put", table["TableId"], pk_val, sk_val, item])
                return set_item(table, pk_val, sk_val, item)

        return _set_item

    def remove(remove_item: Any, _module: Any) -> Any:
        def _remove_item(table: Any, pk_val: Any, sk_val: Any) -> Any:
            with journal.lock:
                journal.write(["remove", table["TableId"], pk_val, sk_val])
                return remove_item(table, pk_val, sk_val)

        return _remove_item

    def replace(items_replaced: Any, _module: Any) -> Any:
        def _items_replaced(table: Any) -> None:
            with journal.lock:
                journal.write(["items", table["TableId"], table["items"]])
                items_replaced(table)

        return _items_replaced

    def one_line(transact: Any, _module: Any) -> Any:
        def _transact(data: Any) -> Any:
            with journal.together():
                return transact(data)

        return _transact

    return (
        Patch("services.dynamodb:_set_item", "4e78ad492132cdba", _FORGETS, _KEEPS, _SOURCE, put),
        Patch("services.dynamodb:_remove_item", "5cce50c99688dab8", _FORGETS, _KEEPS, _SOURCE, remove),
        Patch("services.dynamodb:_items_replaced", "b48626c371f77c18", _FORGETS, _KEEPS, _SOURCE, replace),
        *(
            Patch(
                f"services.dynamodb:{name}",
                source,
                _FORGETS,
                "a transaction is written completely or not at all",
                _SOURCE,
                one_line,
            )
            for name, source in (
                ("_transact_write_items", "d931eab087546b66"),
                ("_execute_transaction", "1f50148b67a4bfd1"),
            )
        ),
    )


def replay_items(journal: Journal, first: int) -> tuple[int, int]:
    """Apply the entries to the loaded tables; how many were applied, and how many belong to no table."""
    dynamodb = importlib.import_module("ministack.services.dynamodb")
    tables = {table.get("TableId"): table for table in dynamodb._tables._data.values()}
    applied = homeless = 0
    for kind, table_id, *more in journal.replay(first):
        table = tables.get(table_id)
        if table is None:
            homeless += 1
            continue
        match kind:
            case "put":
                dynamodb._set_item(table, *more)
            case "remove":
                dynamodb._remove_item(table, *more)
            case "items":
                table["items"] = defaultdict(dict, more[0])
                dynamodb._items_replaced(table)
        applied += 1
    return applied, homeless


def tables_signature() -> str:
    """What changes with the tables, but not with their items."""
    dynamodb = importlib.import_module("ministack.services.dynamodb")
    varying = ("items", "ItemCount", "TableSizeBytes", dynamodb._INDEX_MEMBERS)
    parts = [
        {key: {name: value for name, value in table.items() if name not in varying}}
        for key, table in list(dynamodb._tables._data.items())
    ]
    settings = [
        getattr(dynamodb, name)._data
        for name in ("_tags", "_ttl_settings", "_pitr_settings", "_resource_policies", "_backups", "_exports")
    ]
    return repr((parts, settings))
