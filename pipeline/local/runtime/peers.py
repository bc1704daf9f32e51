"""Find the process at the other end of a loopback connection in the kernel's tables (Linux)."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path


def is_held_by(processes: Iterable[int], peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """Whether one of ``processes`` holds the socket with the address ``peer`` that is connected to ``own``."""
    inode = _inode(peer, own)
    return inode is not None and any(f"socket:[{inode}]" in _links(process) for process in processes)


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> str | None:
    """The inode of a connected IPv4 socket, by its two addresses (proc(5), "/proc/net/tcp")."""
    wanted = re.compile(rf"^\s*\d+: {_hex(local)} {_hex(remote)} \S+ \S+ \S+ \S+\s+\d+\s+\d+\s+(\d+) ", re.M)
    found = wanted.search(Path("/proc/net/tcp").read_text())
    return found[1] if found else None


def _hex(address: tuple[str, int]) -> str:
    host, port = address
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"


def _links(process: int) -> set[str]:
    """The open files of a process; empty if it has ended or belongs to another user."""
    found = set()
    try:
        with os.scandir(f"/proc/{process}/fd") as entries:
            for entry in entries:
                try:
                    found.add(os.readlink(entry.path))  # noqa: PTH115
                except OSError:
                    continue
    except OSError:
        pass
    return found
