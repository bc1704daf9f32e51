"""One card transaction, parsed once, at the door of each function.

Validation reads what was submitted. Fraud detection and compliance read the canonical form that validation gave out,
with the same reader, so there is one definition of every field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from transactions.cardholder import has_card_number, is_card_field, safe_field_name
from transactions.countries import COUNTRY_CODES
from transactions.money import Amount, Currency, Money, MoneyError
from transactions.results import Fault

ID_LENGTH = 64
# ISO 20022 Max140Text: the length of a party's name in payment messages.
NAME_LENGTH = 140
# A transaction has thirteen fields; thousands of others get a short answer.
MAX_FAULTS = 32

# A payment moves money. An account verification asks the issuer whether an account is in order: its amount is zero.
PAYMENT, ACCOUNT_VERIFICATION = "payment", "account_verification"

_TRANSACTION_ID = re.compile(r"[A-Za-z0-9._:-]+")
_JOINERS = dict.fromkeys((0x200C, 0x200D))
_CATEGORY = re.compile(r"[0-9]{4}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


class FieldError(ValueError):
    """A field's value that cannot be used. The text says what is expected and does not repeat the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction all of whose fields are well-formed. Optional fields are None when absent; without a kind it is a
    payment. ``money`` is zero for an account verification, and above zero for a payment.
    """

    transaction_id: str
    money: Money
    merchant_id: str
    customer_id: str
    kind: str | None = None
    timestamp: datetime | None = None
    merchant_category: str | None = None
    merchant_country: str | None = None
    customer_country: str | None = None
    ip_country: str | None = None
    # Names stay out of repr, and so out of any log line or traceback that shows one.
    customer_name: str | None = field(default=None, repr=False)
    beneficiary_name: str | None = field(default=None, repr=False)

    def canonical(self) -> dict[str, str | int]:
        """The transaction as JSON for the next states: present fields only, ``amount`` exact to the minor unit.

        ``amount_minor`` has at most 12 digits, so it survives JSON readers that make a double of it.
        """
        document: dict[str, str | int] = {
            "transaction_id": self.transaction_id,
            "amount": str(self.money),
            "amount_minor": self.money.minor,
            "currency": self.money.currency.code,
            "merchant_id": self.merchant_id,
            "customer_id": self.customer_id,
        }
        if self.timestamp is not None:
            document["timestamp"] = format_instant(self.timestamp)
        for name in _OPTIONAL_TEXT:
            value = getattr(self, name)
            if value is not None:
                document[name] = value
        return document


def format_instant(instant: datetime) -> str:
    """UTC with milliseconds: ``2026-11-23T14:00:00.000Z``. Of fixed width, so that text order is time order."""
    # Not strftime: the C library writes years before 1000 without leading zeros.
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(value: object) -> datetime:
    """Read ISO 8601 date and time with seconds and an offset (RFC 3339), cut to milliseconds. Raises FieldError."""
    if not isinstance(value, str):
        raise FieldError("type", "a time is a string")
    if not _INSTANT.fullmatch(value):
        raise FieldError("format", "a time is written like 2026-11-23T14:00:00Z, with its offset from UTC")
    try:
        instant = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        # No "from": the interpreter's message repeats the value.
        raise FieldError("format", "this time does not exist") from None
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def is_transaction_id(value: object) -> bool:
    """Whether the value is a transaction id that may be stored and logged."""
    return (
        isinstance(value, str)
        and len(value) <= ID_LENGTH
        and _TRANSACTION_ID.fullmatch(value) is not None
        and not has_card_number(value)
    )


def read_transaction(document: object, *, canonical: bool = False) -> Transaction | tuple[Fault, ...]:
    """Read a transaction, or tell everything that is wrong with it at once, required fields first.

    Unknown fields are faults: a misspelt ``merchant_contry`` that is quietly ignored would switch a check off. An
    optional field that is null is absent. canonical: also admit ``amount_minor``, which must agree with the amount.
    """
    if not isinstance(document, dict):
        return (Fault("", "not_an_object", "a transaction is a JSON object"),)
    faults: list[Fault] = []
    values: dict[str, object] = {}

    for name, read in _FIELDS.items():
        value = document.get(name)
        if value is None:
            if name in _REQUIRED:
                faults.append(Fault(name, "missing", "this field is required"))
            continue
        if name == "amount" and document.get("kind") == ACCOUNT_VERIFICATION:
            read = Amount.parse_zero
        try:
            values[name] = read(value)
        except (FieldError, MoneyError) as error:
            faults.append(Fault(name, error.code, str(error)))

    money: Money | None = None
    amount, currency = values.pop("amount", None), values.pop("currency", None)
    if isinstance(amount, Amount) and isinstance(currency, Currency):
        try:
            money = Money.of(amount, currency)
        except MoneyError as error:
            faults.append(Fault("amount", error.code, str(error)))

    known = _FIELDS.keys() | {"amount_minor"} if canonical else _FIELDS.keys()
    faults.extend(_unknown_field(name) for name in document if name not in known)
    if canonical and money is not None and document.get("amount_minor", money.minor) != money.minor:
        faults.append(Fault("amount_minor", "mismatch", "the minor units do not agree with the amount"))

    if faults or money is None:
        return _bounded(faults)
    return Transaction(money=money, **values)  # type: ignore[arg-type]  # each reader gives its field's type


def _bounded(faults: list[Fault]) -> tuple[Fault, ...]:
    if len(faults) <= MAX_FAULTS:
        return tuple(faults)
    rest = len(faults) - MAX_FAULTS
    return (*faults[:MAX_FAULTS], Fault("", "too_many_faults", f"{rest} further faults are not listed"))


def _unknown_field(name: str) -> Fault:
    if is_card_field(name):
        return Fault(
            safe_field_name(name), "card_data", "card data is not accepted here; send a token of your processor"
        )
    return Fault(safe_field_name(name), "unknown_field", "there is no field of this name")


def _read_text(value: object, length: int) -> str:
    if not isinstance(value, str):
        raise FieldError("type", "this field is a string")
    if not 1 <= len(value) <= length:
        raise FieldError("length", f"this field has 1 to {length} characters")
    if has_card_number(value):
        raise FieldError("card_data", "this field holds a card number; send a token of your processor")
    return value


def _read_transaction_id(value: object) -> str:
    text = _read_text(value, ID_LENGTH)
    if not _TRANSACTION_ID.fullmatch(text):
        raise FieldError("characters", "a transaction id is made of A-Z a-z 0-9 . _ : -")
    return text


def _read_party_id(value: object) -> str:
    text = _read_text(value, ID_LENGTH)
    # ASCII only: look-alike letters and Unicode's several spellings of one text would make several customers of one,
    # each with a clean history.
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise FieldError("characters", "an id is made of printable ASCII characters and has no space at its ends")
    return text


def _read_name(value: object) -> str:
    text = unicodedata.normalize("NFC", _read_text(value, NAME_LENGTH))
    # Names are typed with no-break and ideographic spaces too.
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    # Read once more: composing can lengthen a text, and single spaces can bring a card number to light.
    normal = _read_text(" ".join(word for word in spaced.split(" ") if word), NAME_LENGTH)
    # isprintable refuses control, format (zero width, bidirectional overrides) and surrogate characters; but Persian
    # and Indic names need the two joiners.
    if not normal.translate(_JOINERS).isprintable():
        raise FieldError("characters", "a name is made of printable characters")
    return normal


def _read_country(value: object) -> str:
    if not isinstance(value, str):
        raise FieldError("type", "a country is a string of two letters")
    # Only ASCII may be upper-cased: str.upper makes "FI" of the single character "\ufb01".
    code = value.upper() if value.isascii() else ""
    if code not in COUNTRY_CODES:
        raise FieldError("unknown_code", "this is not an ISO 3166-1 alpha-2 code")
    return code


def _read_category(value: object) -> str:
    if not isinstance(value, str):
        raise FieldError("type", "a merchant category is a string of four digits")
    if not _CATEGORY.fullmatch(value):
        raise FieldError("format", "a merchant category is a string of four digits (ISO 18245)")
    return value


def _read_kind(value: object) -> str:
    if not isinstance(value, str):
        raise FieldError("type", "a kind is a string")
    if value not in (PAYMENT, ACCOUNT_VERIFICATION):
        raise FieldError("unknown_code", f"a kind is {PAYMENT} or {ACCOUNT_VERIFICATION}")
    return value


_REQUIRED = frozenset({"transaction_id", "amount", "currency", "merchant_id", "customer_id"})
_FIELDS: dict[str, Callable[[object], object]] = {
    "transaction_id": _read_transaction_id,
    "amount": Amount.parse,
    "currency": Currency.parse,
    "merchant_id": _read_party_id,
    "customer_id": _read_party_id,
    "kind": _read_kind,
    "timestamp": parse_instant,
    "merchant_category": _read_category,
    "merchant_country": _read_country,
    "customer_country": _read_country,
    "ip_country": _read_country,
    "customer_name": _read_name,
    "beneficiary_name": _read_name,
}
_OPTIONAL_TEXT = tuple(name for name in _FIELDS if name not in _REQUIRED and name != "timestamp")
