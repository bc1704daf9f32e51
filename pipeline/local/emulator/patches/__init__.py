"""All changes to ministack in the emulator's process, as rows of one table (``catalogue``).

patch         a row: the replaced function, the reason, and a fingerprint of the replaced code
catalogue     the version of ministack, all rows, and other internals of ministack that are used
invocations, uploads, executions, state_roles, replacements, maps  the rows by subject, beside their replacements
"""
