"""Promote a recorded release to another environment, account or region: the same bytes, without building."""
