"""The C library of Lambda's managed base images, by Python version. Pure.

Sources: AWS Lambda developer guide, "Lambda runtimes" (python3.11 and older run on Amazon Linux 2, python3.12 and newer
on Amazon Linux 2023); Amazon Linux 2 release notes (glibc 2.26); Amazon Linux 2023 release notes (glibc 2.34).
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from pipeline.assembly.model import PythonVersion

_FIRST_ON_AL2023 = PythonVersion(3, 12)


class Glibc(NamedTuple):
    """A version of glibc: ``Glibc(2, 34)``. They compare like versions."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


AMAZON_LINUX_2 = Glibc(2, 26)
# Its last day with security updates (Amazon Linux 2 FAQs, "end of support").
END_OF_AMAZON_LINUX_2 = date(2026, 6, 30)
AMAZON_LINUX_2023 = Glibc(2, 34)
# The values of uv's --python-platform that this project needs: the newest that is not newer than the image's glibc.
_MANYLINUX = {AMAZON_LINUX_2: "manylinux_2_17", AMAZON_LINUX_2023: "manylinux_2_34"}


def glibc_of(python: PythonVersion) -> Glibc:
    """The glibc of Lambda's own image of a Python version."""
    return AMAZON_LINUX_2023 if python >= _FIRST_ON_AL2023 else AMAZON_LINUX_2


def manylinux_of(python: PythonVersion) -> str:
    """The newest wheels that Lambda's own image of a Python version can load, as uv's --python-platform names them."""
    return _MANYLINUX[glibc_of(python)]
