"""Errors, events, files, locks and documents, used by all other folders."""
