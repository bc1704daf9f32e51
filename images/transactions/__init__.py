"""What the three functions share: the values of a card transaction, and the thin glue around a handler.

    currencies, countries   the ISO tables, as data
    money                   exact amounts in minor units
    cardholder              what must never be stored or logged
    transaction             one transaction, parsed once; its canonical form
    results                 faults, reasons, findings
    rules                   dated rule files
    invocation              logging, metrics and errors of a Lambda handler

Only ``invocation`` knows Lambda or Powertools; everything else is pure and imports the standard library alone.
Nothing is imported here, so that a function pays at its INIT for what it uses and for nothing else.
"""
