"""Every test of the functions' code can import it; see ``loading``."""

from __future__ import annotations

from tests.unit.images import loading as loading
