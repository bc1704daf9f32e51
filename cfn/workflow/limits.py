"""Names and limits that the state machine is filled with, and that other parts of the program share."""

from __future__ import annotations

VALIDATION, FRAUD, COMPLIANCE = "transaction-validation", "fraud-detection", "compliance-checking"
# Each transaction invokes each of them once.
CALLED_FUNCTIONS = (VALIDATION, FRAUD, COMPLIANCE)

# Characters of a transaction as compact JSON. Far above any real one, far below what a state, a message, an item and
# one second of JSONata evaluation can take, so no state after Claim has to consider size again.
TRANSACTION_MAX_CHARACTERS = 8_192
# Characters of an input that a parked message can carry whole: each may need 4 bytes, a task takes 262,144 bytes.
PARKED_MAX_CHARACTERS = 60_000
# Characters of a longer one that the message shows instead.
EXCERPT_CHARACTERS = 1_000

# The generated key of fingerprints: 64 letters and digits are 381 bits.
FINGERPRINT_KEY_CHARACTERS = 64

# A claim outlives the longest execution: EXPRESS ends every execution after 300 s (Step Functions quotas).
LEASE_SECONDS = 300
# After the end of its lease a lost claim is left alone for so long: its sender may be about to submit again.
GRACE_SECONDS = 60
# Running claims are spread over so many keys of the index of leases: each takes 1,000 writes a second, and a claim and
# its end are two (DynamoDB developer guide, "Best practices for designing and using partition keys effectively").
LEASE_SHARDS = 8
# Claims of each shard that one sweep parks at most.
SWEPT_CLAIMS = 20
# How long a submission waits for another execution that holds the claim, before it is parked.
PATIENCE_SECONDS = 15
DETAILS_DAYS = 90
# How far from a transaction's own time, in both directions, and how many entries of the customer's history fraud
# detection is given. It refuses an event that its velocity rules would need more of; a test holds the shipped rules
# against these.
HISTORY_SECONDS = 3_600
HISTORY_ENTRIES = 41

# Names of fields that hold card data, without case and punctuation. images/transactions/cardholder.py has the same; a
# test compares them.
CARD_FIELDS = (
    r"(full)?pan|primaryaccountnumber"
    r"|(credit|debit|nameon)?card(data|number|no|num|securitycode|expiry|holder(name)?)?|cc(number|num)|cv[cnv]2?(code)?|cav2?|cid|csc|securitycode|verificationvalue|pin(block|code)?"
    r"|(track|mag(netic)?stripe)\w*|(emv|icc)data|servicecode|exp(iry|iration|date|month|year)\w*"
)

# Keys of records that are not transactions; an id of a transaction cannot contain "#".
DETAILS_PREFIX, PARKED_PREFIX = "details#", "parked#"
# The partition of the index "customer" under which parked records are found.
PARKED_CUSTOMER = "#parked"

# The entrance "files". Lines of a batch, which is one execution, and what is run again; as in file-entrance.asl.json.
FILE_BATCH = 10
# Folders of its bucket: objects that start an execution themselves, those of ``submit --map``, and results.
FILES_INCOMING, FILES_SUBMITTED, FILES_RESULTS = "incoming", "submitted", "results"
# How many seconds a transaction's execution takes under load; this bounds the lines that are under way.
FILE_SECONDS = 0.6
