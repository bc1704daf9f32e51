"""The JSONata of the state machine: what is computed inside Step Functions, and the limits that it keeps."""

from __future__ import annotations

import re

VALIDATION, FRAUD, COMPLIANCE = "transaction-validation", "fraud-detection", "compliance-checking"
CALLED_FUNCTIONS = (VALIDATION, FRAUD, COMPLIANCE)

# Characters of a transaction as compact JSON. Far above any real one, far below what a state, a message, an item and
# one second of JSONata evaluation can take, so nothing after Claim has to think about size again.
TRANSACTION_MAX_CHARACTERS = 8_192
# Characters of an input that a parked message can carry whole: each may need 4 bytes, a task takes 262,144 bytes.
PARKED_MAX_CHARACTERS = 60_000

# A claim outlives the longest execution: EXPRESS ends every execution after 300 s (Step Functions quotas).
LEASE_SECONDS = 300
# How long a submission waits for another execution that holds the claim, before it is parked.
PATIENCE_SECONDS = 15
POLL_SECONDS = 2
DETAILS_DAYS = 90

# Keys of records that are not transactions; an id of a transaction cannot contain "#".
DETAILS_PREFIX, PARKED_PREFIX = "details#", "parked#"
# The partition of the index "customer" under which parked records are found.
PARKED_CUSTOMER = "#parked"


_STRING = re.compile(r"('[^']*')")
# Beside punctuation, but never beside a word, which might be an operator.
_SPACE = re.compile(r"(?<=[:;,?&=<>{}()\[\]])\s+(?!\w)|(?<!\w)\s+(?=[:;,?&=<>{}()\[\]])")


def compact(text: str) -> str:
    """JSONata without the spaces that only people need; a template has no room for them. Strings stay as they are."""
    parts = _STRING.split(" ".join(text.split()))
    return "".join(part if index % 2 else _SPACE.sub("", part) for index, part in enumerate(parts))


def expression(text: str) -> str:
    """A JSONata expression as the States Language writes it."""
    return "{% " + compact(text) + " %}"


INPUT = "$states.context.Execution.Input"
NOW = "$fromMillis($millis())"
# Who holds a claim: one run of one execution. Two runs of one execution (EXPRESS runs at least once) enter the state at
# different times; should they not, Record still lets only one answer stand.
TOKEN = "$states.context.Execution.Name & '@' & $states.context.State.EnteredTime"  # noqa: S105 - a fencing token
EXECUTION = "$states.context.Execution.Name"
STARTED = "$toMillis($states.context.Execution.StartTime)"

# Expressions below name the input $in and its id $id.
LET_INPUT = f"$in := {INPUT}; $id := $in.transaction_id;"
USABLE_ID = "$type($id) = 'string' and $length($id) in [1..64] and $not($contains($id, /[^A-Za-z0-9._:-]/))"
TOO_LARGE = f"$length($string($in)) > {TRANSACTION_MAX_CHARACTERS}"

# The fingerprint of a payload: SHA-256 of a text that has the keys of every object in order, so that two spellings of
# one payload are one payload. Ordering has to end within JSONata's one second for any input, so below 32 levels, with
# more than 50 objects and for what is too large anyway, the text is the input as it stands.
# A value is written as that of an object, because an array constructor would take the brackets off an array.
# It is hashed in pieces, since the hash function of the States Language takes 10,000 characters (Step Functions guide).
LET_FINGERPRINT = f"""
$ordered := function($v, $d) {{ $type($v) = 'object' and $d < 32
  ? '{{' & $join($sort($keys($v)).($x := $lookup($v, $);
    $contains($string($x), '{{') ? $string([$]) & $ordered($x, $d + 1) : $string({{$: $x}})), ',') & '}}'
  : $type($v) = 'array' and $d < 32
  ? '[' & $join($map($v, function($i) {{ $ordered($i, $d + 1) }}), ',') & ']'
  : $string({{'': $v}}) }};
$text := $string($in);
$text := {TOO_LARGE} or $count($split($text, '{{')) > 50 ? $text : $ordered($in, 0);
$fingerprint := $hash($join([0..$floor($length($text) / 9000)].$hash($substring($text, $ * 9000, 9000), 'SHA-256')),
  'SHA-256');
"""
FAULTS = f"[$states.input.faults.{{'source': '{VALIDATION}', 'rule': code, 'field': field, 'message': message}}]"


def refusal(rule: str, message: str) -> str:
    """The reason of an answer that no function gave."""
    return f"{{'source': 'workflow', 'rule': '{rule}', 'message': '{message}'}}"


NOT_AN_OBJECT = refusal("not_an_object", "a transaction is a JSON object")
NO_USABLE_ID = refusal("no_usable_id", "transaction_id is 1 to 64 of A-Z a-z 0-9 . _ : -")
OTHER_PAYLOAD = (
    "{'source': 'workflow', 'rule': 'different_payload',"
    " 'message': 'another payload was submitted under this id at ' & $states.input.received_at}"
)
REFUSED_TOO_LARGE = refusal("too_large", f"a transaction has at most {TRANSACTION_MAX_CHARACTERS} characters")


def answer_fields(outcome: str, transaction_id: str = f"{INPUT}.transaction_id", at: str = NOW) -> str:
    """The first fields of every answer; ``outcome`` is a name or a variable, the others are expressions."""
    value = outcome if outcome.startswith("$") else f"'{outcome}'"
    return f"'transaction_id': {transaction_id}, 'outcome': {value}, 'repeat': false, 'decided_at': {at}"


def judge_of(answered: str) -> str:
    """Who judged, for the record: the digest of the function's image and the version of its rules."""
    return f"{answered}.{{'image': image, 'rules': rules}}"
