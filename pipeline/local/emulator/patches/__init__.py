"""Every change that is made to ministack in the emulator's process, as rows of one table (``catalogue``).

patch         a row: what is replaced, why, and the check that it is what was replaced when the row was written
catalogue     the version of ministack, all rows, and what else of ministack's internals is relied on
invocations, uploads, executions, state_roles, replacements     the rows by subject, beside their replacements
"""
