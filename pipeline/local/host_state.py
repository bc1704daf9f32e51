"""The host's files for other processes, readable only by the owner of the local folder.

FOLDER/local.json       the address of the embedded AWS, while it runs
FOLDER/root.json        its root access key, created once per folder
FOLDER/state/identity   a random identity, created and deleted with its state
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

FILE = "local.json"
ROOT_FILE = "root.json"
IDENTITY_FILE = "identity"
# Incremented when the meaning of local.json changes; a file of another format is not read.
FORMAT = 3
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class RootKey:
    """The root access key of the account."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Access control of an embedded AWS.

    token  a secret of one run, which the host uses for the registry and for administrative requests
    hosts  accepted host names, without ports
    """

    root: RootKey
    token: str = field(repr=False)
    hosts: tuple[str, ...] = LOOPBACK_HOSTS


@dataclass(frozen=True, slots=True)
class HostState:
    """A running embedded AWS. ``pid`` and ``start_time`` together identify its process.

    runtime    "process" or "docker"
    isolation  a description of the isolation of functions
    unsafe     how to enable isolation if there is none, else ""
    identity   of the state, see ``identity_of``
    """

    pid: int
    start_time: int
    port: int
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    fresh: bool
    runtime: str = "process"
    isolation: str = ""
    unsafe: str = ""
    identity: str = ""
    format: int = FORMAT

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it does not exist or is a zombie.

    Identifies a process together with the pid, which alone may be reused.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may itself contain spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def read_state(folder: Path) -> HostState | None:
    """The content of the file, which may be outdated; None if it is missing or has another format."""
    try:
        document = json.loads((folder / FILE).read_bytes())
        return HostState(**document) if document["format"] == FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def process_of_another_format(folder: Path) -> int | None:
    """The process of a running embedded AWS that another version of this program started; None if there is none."""
    try:
        document = json.loads((folder / FILE).read_bytes())
        pid = int(document["pid"])
        return pid if document["format"] != FORMAT and start_time(pid) == document["start_time"] else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(folder: Path, state: HostState) -> None:
    _write_private(folder / FILE, _as_json(asdict(state)))


def root_key(folder: Path) -> RootKey:
    """The folder's root key; generated on first use, and again if the file is damaged."""
    try:
        return RootKey(**json.loads((folder / ROOT_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        key = new_root_key()
        _write_private(folder / ROOT_FILE, _as_json(asdict(key)))
        return key


def identity_of(folder: Path) -> str:
    """The identity of the folder's state: 16 hexadecimal digits, created if there are none."""
    path = folder / "state" / IDENTITY_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = path.read_text()
        if re.fullmatch(r"[0-9a-f]{16}", found):
            return found
    created = secrets.token_hex(8)
    _write_private(path, created.encode())
    return created


def new_root_key() -> RootKey:
    """A random key in AWS's format: 20 upper-case characters, and a secret of 40."""
    return RootKey(f"AKIA{base64.b32encode(secrets.token_bytes(10)).decode()}", secrets.token_urlsafe(30))


def new_token() -> str:
    return secrets.token_urlsafe(32)


def _as_json(document: dict[str, object]) -> bytes:
    return json.dumps(document, indent=2).encode()


def _write_private(path: Path, content: bytes) -> None:
    """Write atomically; only the owner may read the file."""
    temporary = path.with_name(f".{path.name}.writing")  # of this folder's one host; replaces a killed one's
    with open_private(temporary) as file:
        file.write(content)
    temporary.replace(path)


def open_private(path: Path) -> BinaryIO:
    """Open for writing, empty; only the owner may read the file, whatever the umask."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
