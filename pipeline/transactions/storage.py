"""Estimate what the records of transactions take in the table, and what that costs in either table class. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.transactions.prices import Prices, Traffic

# DynamoDB pricing, "Data storage": 100 bytes of overhead for each item and each entry of an index.
ITEM_OVERHEAD_BYTES = 100
# The keys of an entry of the customer index: two ids and a time, with the names of the attributes.
INDEX_ENTRY_BYTES = 116
# Which submissions take a claim, which leave a record, and which an entry of the customer index.
CLAIMED = ("approved", "flagged", "rejected")
RECORDED = (*CLAIMED, "too large")
INDEXED = ("approved", "flagged")
# The classes of a table (API_CreateTable), and the price list's sections for them.
STANDARD, INFREQUENT_ACCESS = "STANDARD", "STANDARD_INFREQUENT_ACCESS"
_SECTIONS = {STANDARD: "dynamodb", INFREQUENT_ACCESS: "dynamodb_infrequent_access"}

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Storage:
    """What the records of a million transactions take, for good, and what a gigabyte of them costs.

    gigabytes               per million transactions, with the customer index; details, which expire after 90 days, and
                            the index of leases, which is as small as the load, are not in it
    usd_per_month           of a gigabyte: the table's storage and its point-in-time recovery
    break_even_per_million  gigabytes from which STANDARD_INFREQUENT_ACCESS costs less, with a million transactions a
                            month: its dearer requests against its cheaper storage. None if it is not cheaper
    """

    gigabytes: float
    usd_per_month: float
    table_class: str
    break_even_per_million: float | None

    def after(self, months: int, transactions: int) -> tuple[float, float]:
        """Gigabytes, and USD in that month, after so many months of ``transactions`` each."""
        gigabytes = self.gigabytes * transactions / MILLION * months
        return gigabytes, gigabytes * self.usd_per_month

    def first_year(self, transactions: int) -> float:
        """USD of the first twelve months together."""
        return sum(self.after(month, transactions)[1] for month in range(1, 13))

    def break_even(self, transactions: int) -> float | None:
        """Gigabytes from which STANDARD_INFREQUENT_ACCESS costs less, with ``transactions`` a month; None for never."""
        per_million = self.break_even_per_million
        return None if per_million is None else per_million * transactions / MILLION


def prices_of(table_class: str, prices: Prices) -> Mapping[str, float]:
    """The prices of a table's storage and requests."""
    return prices.table[_SECTIONS[table_class]]


def storage_of(table_class: str, prices: Prices, traffic: Traffic, *, writes: float, reads: float) -> Storage:
    """The storage of a table. writes, reads: units of an average transaction."""
    recorded = sum(traffic.shares.get(kind, 0) for kind in RECORDED)
    indexed = sum(traffic.shares.get(kind, 0) for kind in INDEXED)
    size = recorded * (traffic.record_bytes + ITEM_OVERHEAD_BYTES) + indexed * (INDEX_ENTRY_BYTES + ITEM_OVERHEAD_BYTES)
    usual, infrequent = prices_of(STANDARD, prices), prices_of(INFREQUENT_ACCESS, prices)

    def dearer(unit: str) -> float:
        return infrequent[unit] - usual[unit]

    requests = writes * dearer("per_million_writes") + reads * dearer("per_million_reads")
    saved = -dearer("per_gb_month")
    return Storage(
        size * MILLION / 1e9,
        prices_of(table_class, prices)["per_gb_month"] + usual["per_gb_month_pitr"],
        table_class,
        requests / saved if saved > 0 else None,
    )
