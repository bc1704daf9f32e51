"""Card data (PCI DSS: cardholder data and sensitive authentication data) has no business in this pipeline.

It would end in the state machine's input, the table and the queue. It is refused by the name of its field and, where
free text is allowed, by its shape; and neither the value nor an unsafe field name is ever repeated.
"""

from __future__ import annotations

import re

# Compared without case, spaces and punctuation: "Card-Number", "card_number" and "cardNumber" are one field.
_FIELD_NAMES = """
    pan primaryaccountnumber fullpan card carddata cardnumber cardno cardnum ccnumber ccnum creditcard
    creditcardnumber debitcard debitcardnumber cvv cvv2 cvc cvc2 cvn cid cav cav2 csc cvvcode cardsecuritycode
    securitycode verificationvalue pin pinblock pincode track track1 track2 track3 trackdata track1data
    track2data magstripe magneticstripe emvdata iccdata servicecode expiry expirydate expirymonth expiryyear
    expiration expirationdate expdate expmonth expyear cardexpiry cardholder cardholdername nameoncard
"""
_CARD_FIELDS = frozenset(_FIELD_NAMES.split())
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")

# Issuer prefixes and lengths of the card schemes. Prefix and length keep ordinary numeric ids (times, serial numbers)
# from being taken for cards: of those that fit, the check digit spares nine in ten.
_CARD_NUMBER = re.compile(
    r"""4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})                                  # Visa
      | (?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}   # Mastercard
      | 3[47][0-9]{13}                                                      # American Express
      | 3(?:0[0-5]|[689][0-9])[0-9]{11}                                     # Diners Club
      | (?:6011|64[4-9][0-9]|65[0-9]{2}|62[0-9]{2})[0-9]{12,15}             # Discover, UnionPay
      | 35(?:2[89]|[3-8][0-9])[0-9]{12,15}                                  # JCB
      | (?:50|5[6-9]|6[0-9])[0-9]{14}                                       # Maestro, at the length in use
    """,
    re.VERBOSE,
)
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
    return _NOT_ALPHANUMERIC.sub("", name).casefold() in _CARD_FIELDS


def has_card_number(text: str) -> bool:
    """Whether a card number stands in ``text``, in one piece or grouped by spaces, dots or hyphens.

    Every row of whole groups is looked at: neither "order-4111111111111111-2026" nor "4111 1111 1111 1111" hides one.
    What a UUID holds is not.
    """
    for run in _DIGIT_RUN.finditer(_UUID.sub("#", text)):
        groups = _SEPARATOR.split(run.group())
        for start in range(len(groups)):
            for end in range(start + 1, len(groups) + 1):
                digits = "".join(groups[start:end])
                if _CARD_NUMBER.fullmatch(digits) and _luhn(digits):
                    return True
    return False


def safe_field_name(name: str) -> str:
    """The name if it can be repeated in an answer or a log, otherwise "(unprintable)"."""
    return name if _SAFE_NAME.fullmatch(name) and not has_card_number(name) else "(unprintable)"


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: the check digit of a card number."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
