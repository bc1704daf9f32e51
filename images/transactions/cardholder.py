"""Card data (PCI DSS: cardholder data and sensitive authentication data) has no business in this pipeline.

It would end in the state machine's input, the table and the queue. It is refused by the name of its field and, where
free text is allowed, by its shape; and neither the value nor an unsafe field name is ever repeated.
"""

from __future__ import annotations

import re
import unicodedata

# Compared without case, spaces and punctuation: "Card-Number", "card_number" and "cardNumber" are one field.
_FIELD_NAME = re.compile(
    r"(full)?pan|primaryaccountnumber"
    r"|(credit|debit|nameon)?card(data|number|no|num|securitycode|expiry|holder(name)?)?|cc(number|num)|cv[cnv]2?(code)?|cav2?|cid|csc|securitycode|verificationvalue|pin(block|code)?"
    r"|(track|mag(netic)?stripe)\w*|(emv|icc)data|servicecode|exp(iry|iration|date|month|year)\w*"
)
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")

# Card schemes' numbers begin so (ISO/IEC 7812 issuer ranges in use: 3 to 6, and Mastercard's 22 to 27), with 13 to 19
# digits. The prefix keeps times and dates from being taken for cards, the check digit nine in ten of the rest.
_CARD_NUMBER = re.compile(r"(?:[3-6]|2[2-7])[0-9]+")
_SEPARATOR = re.compile(r"[ .-]")
_DIGIT_RUN = re.compile(r"[0-9](?:[ .-]?[0-9]){12,}")
# A random UUID now and then holds digits that would pass for a card number, without hyphens one in six thousand; one
# with a letter in it is no card. Written as 32 digits it has to stand alone, or a longer row of digits would hold one.
_UUID = re.compile(
    r"""(?=[0-9-]*[A-Fa-f])
        (?: [0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}
          | (?<![0-9A-Za-z])[0-9A-Fa-f]{32}(?![0-9A-Za-z]) )
    """,
    re.VERBOSE,
)
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def is_card_field(name: str) -> bool:
    """Whether a field of this name would hold card data."""
    return _FIELD_NAME.fullmatch(_NOT_ALPHANUMERIC.sub("", name).casefold()) is not None


def has_card_number(text: str) -> bool:
    """Whether a card number stands in ``text``, in one piece or grouped by spaces, dots or hyphens.

    Every row of whole groups is looked at: neither "order-4111111111111111-2026" nor "4111 1111 1111 1111" hides one.
    What a UUID holds is not. A text of nothing but 13 to 19 digits is one whenever its check digit is right, whatever
    its scheme. Full-width digits count as digits.
    """
    text = unicodedata.normalize("NFKC", text)
    digits = _SEPARATOR.sub("", text)
    if _is_card_length(digits) and digits.isascii() and digits.isdigit() and _luhn(digits):
        return True
    for run in _DIGIT_RUN.finditer(_UUID.sub("#", text)):
        groups = _SEPARATOR.split(run.group())
        for start in range(len(groups)):
            for end in range(start + 1, len(groups) + 1):
                digits = "".join(groups[start:end])
                if _CARD_NUMBER.fullmatch(digits) and _is_card_length(digits) and _luhn(digits):
                    return True
    return False


def safe_field_name(name: str) -> str:
    """The name if it can be repeated in an answer or a log, otherwise "(unprintable)"."""
    return name if _SAFE_NAME.fullmatch(name) and not has_card_number(name) else "(unprintable)"


def _is_card_length(digits: str) -> bool:
    return 13 <= len(digits) <= 19


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: the check digit of a card number."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
