"""What the embedded AWS answered survives its being killed.

journal         an append-only file of changes, written before a change is acknowledged
items           DynamoDB: every item that is written or deleted, journalled
messages        SQS: every message that is sent, received or deleted, journalled
changing_calls  which API calls change something else
state_files     the files with the states of all services, replaced together
durable_state   when they are written, and what the next start reads from them
"""
