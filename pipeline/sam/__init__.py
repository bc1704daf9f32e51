"""Reads a template of AWS SAM: what a project has for it, and what it has not. Nothing is written.

``read_template`` → ``import_template``: function folders with their ``function.toml``, ``resources.yaml``, settings,
and a note for everything that is not carried over.
"""
