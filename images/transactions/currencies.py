"""ISO 4217: every current currency and funds code with its number of minor unit digits.

Source: ISO 4217 list one, published 2026-01-01 by the maintenance agency (SIX). The euro has replaced BGN and HRK,
XCG has replaced ANG, ZWG has replaced ZWL, SLE has replaced SLL, and CUC is withdrawn: those old codes are refused.
"""

from __future__ import annotations

PUBLISHED = "2026-01-01"

_DIGITS_2 = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
    HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
    RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
    USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """
_DIGITS_0 = """
    BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
    """
_DIGITS_3 = """
    BHD IQD JOD KWD LYD OMR TND
    """
_DIGITS_4 = """
    CLF UYW
    """

# Code -> digits after the decimal separator: 2 for USD (cents), 0 for JPY, 3 for KWD, 4 for CLF.
MINOR_UNIT_DIGITS: dict[str, int] = {
    code: digits
    for digits, codes in ((2, _DIGITS_2), (0, _DIGITS_0), (3, _DIGITS_3), (4, _DIGITS_4))
    for code in codes.split()
}

_NOT_APPLICABLE = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX"

# Listed with minor unit "N.A.": metals, bond market units, units of account, the test code and "no currency". A card
# transaction cannot be in one of them, because its amount has no smallest unit to be exact in.
WITHOUT_MINOR_UNIT = frozenset(_NOT_APPLICABLE.split())
