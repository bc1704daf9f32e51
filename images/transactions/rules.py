"""Rule files: ``rules/<date>.json`` beside a function's logic. The date is the rules' version, named in every result.

The newest file of an image is the one in force. When rules take effect is therefore decided by releasing an image,
and a rollback of the image rolls its rules back with it; older files stay beside it for the record.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class RulesError(Exception):
    """Rules that cannot be used. Raised at INIT, so that an image with broken rules never judges a transaction."""


def newest_rules(folder: Path) -> dict[str, Any]:
    """Read the newest rule file; its ``version`` must be its own name. Raises RulesError."""
    dated = sorted(path for path in folder.glob("*.json") if _VERSION.fullmatch(path.stem))
    if not dated:
        raise RulesError(f"no rule file named after its date in {folder}")
    newest = dated[-1]
    try:
        document = json.loads(newest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RulesError(f"{newest} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != newest.stem:
        raise RulesError(f'{newest} must say "version": "{newest.stem}"')
    return document
