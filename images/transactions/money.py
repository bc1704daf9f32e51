"""Amounts of money as whole numbers of minor units. No binary fraction is ever computed with.

An amount arrives as a JSON string (exact) or as a JSON number, and a number with a decimal point has gone through an
IEEE 754 double before any of this code sees it: in Step Functions' JSONata, in the Lambda runtime's JSON parser,
often in the client. A double carries every decimal of at most 15 significant digits, and ``repr`` gives back the
shortest decimal that means the same double; so up to 15 significant digits what comes out is what was written. A
number with more digits than that is refused rather than guessed at: send a string. (One case cannot be seen from
here: 0.1000000000000000055 is the same double as 0.1, and is read as 0.1.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from transactions.currencies import MINOR_UNIT_DIGITS, WITHOUT_MINOR_UNIT

# ISO 8583 field 4, "Amount, transaction", is n12: what cannot be written there cannot be cleared by any card scheme.
MAX_MINOR_DIGITS = 12
# IEEE 754 binary64: every decimal of up to DBL_DIG = 15 significant digits survives the way into a double and back.
EXACT_DIGITS = 15
# Longer than any amount worth a precise answer; keeps a 200 kB string of digits from being converted.
_MAX_TEXT = 64

_PLAIN_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")


class MoneyError(ValueError):
    """An amount or currency that cannot be used: a ``code`` for programs, a text for people, the input in neither."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency whose amounts have a smallest unit. digits: of the minor unit, 0 to 4."""

    code: str
    digits: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """``"usd"`` and ``"USD"`` are the same currency. Raises MoneyError."""
        if not isinstance(value, str):
            raise MoneyError("type", "a currency is a string of three letters")
        # Only ASCII may be upper-cased: str.upper makes "FIM" of "\ufb01m".
        code = value.upper() if value.isascii() else ""
        if code in WITHOUT_MINOR_UNIT:
            raise MoneyError("no_minor_unit", "this ISO 4217 code has no minor unit, so no amount can be paid in it")
        digits = MINOR_UNIT_DIGITS.get(code)
        if digits is None:
            raise MoneyError("unknown_code", "this is not a current ISO 4217 alphabetic code")
        return cls(code, digits)


@dataclass(frozen=True, slots=True)
class Amount:
    """A decimal number, zero or above, that no currency has been applied to: ``Amount("12", "5")`` is 12.5.

    whole     digits before the point, without leading zeros ("" when there are none)
    fraction  digits after the point, without trailing zeros
    """

    whole: str
    fraction: str

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a JSON number or a plain decimal string above zero, without exponent, spaces or separators.

        Raises MoneyError.
        """
        sign, amount = cls._read(value)
        if sign or not (amount.whole or amount.fraction):
            raise MoneyError("not_positive", "an amount is greater than zero")
        return amount

    @classmethod
    def parse_zero(cls, value: object) -> Self:
        """Read an amount that must be zero, in any spelling of it. Raises MoneyError."""
        sign, amount = cls._read(value)
        if sign or amount.whole or amount.fraction:
            raise MoneyError("not_zero", "an account verification moves no money: its amount is 0")
        return amount

    @classmethod
    def _read(cls, value: object) -> tuple[str, Self]:
        sign, whole, fraction = _split(_plain_text(value))
        return sign, cls(whole.lstrip("0"), fraction.rstrip("0"))


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, zero or above, in a currency's own minor units: ``str(Money(10000, usd)) == "100.00"``."""

    minor: int
    currency: Currency

    @classmethod
    def of(cls, amount: Amount, currency: Currency) -> Self:
        """Raises MoneyError when the amount has a fraction of a minor unit, or more than 12 digits of them.

        The value decides, not the spelling: JPY "100.0" is 100 yen, JPY "100.5" is refused. Nothing is ever rounded.
        """
        if len(amount.fraction) > currency.digits:
            raise MoneyError("precision", f"an amount in {currency.code} has at most {currency.digits} decimal places")
        digits = amount.whole + amount.fraction.ljust(currency.digits, "0")
        if len(digits.lstrip("0")) > MAX_MINOR_DIGITS:
            raise MoneyError("too_large", f"an amount has at most {MAX_MINOR_DIGITS} digits of minor units")
        return cls(int(digits), currency)

    @classmethod
    def parse(cls, amount: object, currency: object) -> Self:
        """``Money.parse("100.5", "USD")``. Raises MoneyError."""
        return cls.of(Amount.parse(amount), Currency.parse(currency))

    def __str__(self) -> str:
        """The exact decimal with all of the currency's decimal places: "100.00", and "100" for JPY."""
        digits = self.currency.digits
        text = str(self.minor).rjust(digits + 1, "0")
        return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _plain_text(value: object) -> str:
    """A JSON value as plain decimal text. Raises MoneyError for what is not finite or carries too many digits."""
    match value:
        case bool():
            raise MoneyError("type", "an amount is a number or a decimal string")
        case str():
            if len(value) > _MAX_TEXT:
                raise MoneyError("too_large", f"an amount has at most {MAX_MINOR_DIGITS} digits of minor units")
            return value
        case int():
            # Python refuses to print an int of thousands of digits, so look at its size first.
            if value.bit_length() > 4 * _MAX_TEXT:
                raise MoneyError("too_large", f"an amount has at most {MAX_MINOR_DIGITS} digits of minor units")
            return _exact(Decimal(value))
        case float():
            decimal = Decimal(repr(value))
            if not decimal.is_finite():
                raise MoneyError("malformed", "an amount is a finite number")
            return _exact(decimal)
        case _:
            raise MoneyError("type", "an amount is a number or a decimal string")


def _exact(number: Decimal) -> str:
    significant = "".join(map(str, number.as_tuple().digits)).strip("0")
    if len(significant) > EXACT_DIGITS:
        raise MoneyError(
            "inexact", f"a JSON number is exact up to {EXACT_DIGITS} significant digits; send the amount as a string"
        )
    return format(number, "f")


def _split(text: str) -> tuple[str, str, str]:
    match = _PLAIN_DECIMAL.fullmatch(text)
    if match is None:
        raise MoneyError(
            "malformed",
            'an amount in a string is digits with at most one decimal point, such as "100.50", and no exponent',
        )
    sign, whole, fraction = match.groups()
    return sign, whole, fraction or ""
