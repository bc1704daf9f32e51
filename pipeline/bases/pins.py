"""The default base images, pinned by digest in the project's ``bases.toml``, which ``build --update-base`` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfn.settings import Architecture
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.core.errors import BaseImageError, NextStep
from pipeline.core.tables import read_toml
from pipeline.oci.values import Digest, ImageReference

FILE = "bases.toml"
_HEADER = """\
# The base image of each Python version, and the digest of its image for each architecture.
# Written by `build --update-base`; a build uses exactly these digests.
"""


@dataclass(frozen=True, slots=True)
class _Pin:
    """One table of the file: a reference with a tag, and its digests at the time of pinning."""

    reference: ImageReference
    digests: dict[Architecture, Digest]


# The repository of AWS's own base images for Python.
AWS_BASE = "lambda/python"


def default_reference(python: PythonVersion) -> ImageReference:
    """AWS's own base image for Lambda."""
    return ImageReference("public.ecr.aws", AWS_BASE, str(python))


def pinned_base(platform: Platform, path: Path) -> ImageReference:
    """The pinned reference and digest for a platform. Raises BaseImageError if there is none."""
    pin = _read(path).get(platform.python)
    digest = pin.digests.get(platform.architecture) if pin is not None else None
    if pin is None or digest is None:
        raise BaseImageError(
            f"no base image was chosen for {platform}",
            f"{path} pins none",
            NextStep(
                "Name a base (a reference, an OCI layout as oci:DIR, or empty), or pin the default one",
                ("build", "--update-base"),
            ),
        )
    return ImageReference(pin.reference.registry, pin.reference.repository, pin.reference.tag, digest)


def move_pins(
    platforms: Sequence[Platform],
    resolve: Callable[[ImageReference, Platform], ImageReference],
    *,
    path: Path,
) -> dict[Platform, tuple[ImageReference | None, ImageReference]]:
    """Pin the current images of the references; returns the pin before (or None) and after, by platform.

    resolve  a reference with a tag -> the same with the digest of the image for the platform
    Raises the errors of ``resolve``, and then changes no pin.
    """
    from pipeline.core.files import write_atomically

    pins = _read(path)
    moved: dict[Platform, tuple[ImageReference | None, ImageReference]] = {}
    for platform in platforms:
        pin = pins.get(platform.python) or _Pin(default_reference(platform.python), {})
        found = resolve(pin.reference, platform)
        if found.digest is None:
            raise ValueError(f"{found} was not resolved to a digest")
        before = pin.digests.get(platform.architecture)
        old = ImageReference(found.registry, found.repository, found.tag, before) if before is not None else None
        moved[platform] = (old, found)
        pins[platform.python] = _Pin(pin.reference, {**pin.digests, platform.architecture: found.digest})
    content = _HEADER + "".join(_table(python, pins[python]) for python in sorted(pins))
    if not path.exists() or path.read_text() != content:
        write_atomically(path, content.encode())
    return moved


def _read(path: Path) -> dict[PythonVersion, _Pin]:
    try:
        document = read_toml(path)
        return {
            PythonVersion.parse(version): _Pin(
                ImageReference.parse(table["reference"]),
                {
                    architecture: Digest.parse(table[architecture.value])
                    for architecture in Architecture
                    if architecture.value in table
                },
            )
            for version, table in document.get("python", {}).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BaseImageError(
            "the pinned base images were not read",
            f"{path} is not understood: {error}",
            'Restore the file; a table is [python."3.13"] with reference, arm64 and x86_64.',
        ) from error


def _table(python: PythonVersion, pin: _Pin) -> str:
    lines = [f'\n[python."{python}"]', f'reference = "{pin.reference}"']
    lines += [f'{architecture.value} = "{pin.digests[architecture]}"' for architecture in sorted(pin.digests)]
    return "\n".join(lines) + "\n"
