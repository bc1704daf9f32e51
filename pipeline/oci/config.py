"""The format of an image config in the OCI image specification; Docker's is compatible."""

from __future__ import annotations

from typing import Any

import msgspec


class Run(msgspec.Struct, frozen=True, rename="pascal"):
    """How the image is run: the member ``config``."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    user: str | None = None


class RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str] | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    config: Run | None = None
    rootfs: RootFs | None = None
    history: list[dict[str, Any]] | None = None


def config_fault(document: object) -> str:
    """Why a document is not an image config, with the location; "" if it is one."""
    try:
        msgspec.convert(document, ImageConfig)
    except msgspec.ValidationError as error:
        return str(error)
    except UnicodeEncodeError:  # JSON can hold half a surrogate pair, which is no character
        return "a text of it is not Unicode"
    return ""
