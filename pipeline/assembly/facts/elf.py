"""What a native library needs from the image that loads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.assembly.facts.glibc import Glibc

MAGIC = b"\x7fELF"
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_ARCHITECTURES = {"EM_X86_64": "amd64", "EM_AARCH64": "arm64"}


@dataclass(frozen=True, slots=True)
class Elf:
    """One shared object.

    path          inside the layer
    architecture  OCI's name of it, or ELF's for one that Lambda does not have
    extension     whether Python imports it as a module
    needed        the names of the shared objects that it needs
    glibc         the newest version of glibc whose symbols it needs; for glibc itself, that it has; None for none
    """

    path: str
    architecture: str
    extension: bool
    needed: tuple[str, ...]
    glibc: tuple[int, int] | None


def read_elf(path: str, stream: BinaryIO) -> Elf | None:
    """The facts of a shared object; None for what is no 64-bit ELF file, or a damaged one."""
    # Costs as much as a build without changes, and most layers have no native file.
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(stream)
        dynamic: Any = file.get_section_by_name(".dynamic")
        needed = tuple(tag.needed for tag in dynamic.iter_tags("DT_NEEDED")) if dynamic is not None else ()
        versions = list(_versions(file, is_libc=path.endswith("libc.so.6")))
        machine = str(file["e_machine"])
        return Elf(
            path,
            _ARCHITECTURES.get(machine, machine),
            _is_extension(file, path),
            needed,
            max(versions, default=None),
        )
    except (ELFError, ConstructError, ValueError, KeyError, AttributeError, UnicodeDecodeError, OverflowError):
        return None


def _versions(file: Any, *, is_libc: bool) -> Iterator[Glibc]:
    """The versions of glibc that are needed, or, by glibc itself, defined."""
    section = file.get_section_by_name(".gnu.version_d" if is_libc else ".gnu.version_r")
    if section is None:
        return
    for version, auxiliaries in section.iter_versions():
        names = [auxiliary.name for auxiliary in auxiliaries]
        if is_libc or version.name.startswith(("libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "ld-")):
            for name in names:
                if match := _GLIBC.fullmatch(name):
                    yield Glibc(int(match[1]), int(match[2]))


def _is_extension(file: Any, path: str) -> bool:
    name = path.rpartition("/")[2].partition(".")[0]
    for section in (".gnu.hash", ".hash"):
        table = file.get_section_by_name(section)
        if table is not None:
            return table.get_symbol(f"PyInit_{name}") is not None
    return False
