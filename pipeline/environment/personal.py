"""Everybody's own environment, ``-e me``: it is called like the user."""

from __future__ import annotations

import getpass
import re

from cfn.names import ENVIRONMENT_MAX

PERSONAL = "me"


def own_environment() -> str:
    """The user's name as an environment's: "Ada.Byron" is "ada-byron". "" if nothing of it can be one."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry, as in some containers
        return ""
    words = re.sub(r"[^a-z0-9]+", "-", user.lower()).lstrip("-0123456789")
    return words[:ENVIRONMENT_MAX].strip("-")
