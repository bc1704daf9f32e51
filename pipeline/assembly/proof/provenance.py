"""SLSA provenance of an image: what it was built from, by what, with which parameters. Pure.

Sources: in-toto attestation framework, Statement v1; SLSA 1.0, "Provenance". There is no time in it: the same sources
give the same statement, as they give the same image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pipeline.assembly.dependencies.installation import Lock
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.image import canonical_json
from pipeline.assembly.model import FunctionSource, Image
from pipeline.oci.values import Digest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
IN_TOTO = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:transaction-pipeline:image:v1"
# Of an image that was copied and not built: the statement says where it was found, and nothing about its making.
COPY_TYPE = "urn:transaction-pipeline:copy:v1"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a function's sources come from; empty where Git cannot tell. tree: of the function's folder."""

    commit: str = ""
    tree: str = ""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was chosen for a build, as the user chose it. base: as it was named, "" for the pinned one."""

    slim: Slim
    base: str
    builder: str
    versions: Mapping[str, str] = field(default_factory=dict)


def builder_versions() -> dict[str, str]:
    """The versions of the programs that decide what is in an image."""
    found = {"uv": version("uv")}
    try:
        found["transaction-pipeline"] = version("transaction-pipeline")
    except ImportError:  # run from a checkout, which the commit names
        found["transaction-pipeline"] = "source"
    return found


def provenance(
    image: Image, source: FunctionSource, locks: Mapping[str, Lock], origin: Origin, parameters: Parameters
) -> bytes:
    """The statement about ``image`` in canonical JSON. locks: by the title of their layer."""
    chosen = {
        "function": source.name,
        "handler": source.handler,
        "platform": str(image.platform),
        "base": parameters.base,
        "builder": parameters.builder,
        "slim": parameters.slim.enabled,
        "services": sorted(parameters.slim.services),
        "byte_code": parameters.slim.byte_code,
    }
    used = [*_sources(source, image, origin), *_locks(locks), *_bases(image)]
    return _statement(image, source, BUILD_TYPE, chosen, used, parameters.versions)


def provenance_of_copy(image: Image, source: FunctionSource, origin: Origin, versions: Mapping[str, str]) -> bytes:
    """The statement about a prebuilt image in canonical JSON. origin: of the function.toml that names it."""
    assert source.prebuilt is not None  # noqa: S101
    chosen = {"function": source.name, "image": source.prebuilt.written, "platform": str(image.platform)}
    found: dict[str, Any] = {"name": "image", "digest": {"sha256": image.digest.hex}}
    places = {str(layer.source) for layer in image.layers if layer.source is not None}
    if len(places) == 1:
        found["uri"] = places.pop()
    used = [found]
    if origin.commit:
        used.append({"name": source.name, "digest": {"gitCommit": origin.commit, "gitTree": origin.tree}})
    return _statement(image, source, COPY_TYPE, chosen, used, versions)


def provenance_of_dockerfile(
    image: Image, source: FunctionSource, origin: Origin, versions: Mapping[str, str]
) -> bytes:
    """The statement about an image that an engine built with the function's Dockerfile, in canonical JSON."""
    chosen = {"function": source.name, "dockerfile": "Dockerfile", "platform": str(image.platform)}
    return _statement(image, source, BUILD_TYPE, chosen, _sources(source, image, origin), versions)


def _statement(
    image: Image, source: FunctionSource, kind: str, chosen: Mapping[str, Any], used: Sequence[Mapping[str, Any]],
    versions: Mapping[str, str],
) -> bytes:  # fmt: skip
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": source.name, "digest": {"sha256": image.digest.hex}}],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": kind,
                    "externalParameters": chosen,
                    "internalParameters": {},
                    "resolvedDependencies": used,
                },
                "runDetails": {"builder": {"id": "urn:transaction-pipeline", "version": dict(versions)}},
            },
        }
    )


def _sources(source: FunctionSource, image: Image, origin: Origin) -> list[dict[str, Any]]:
    digest = {"sha256": _own_content(image)}
    if origin.commit:
        digest |= {"gitCommit": origin.commit, "gitTree": origin.tree}
    return [{"name": source.name, "digest": digest}]


def _own_content(image: Image) -> str:
    """The content of the layers that are made of sources: their uncompressed digests."""
    own = [str(layer.diff_id) for layer in image.layers if layer.title not in ("base", "runtime", "dependencies")]
    return Digest.of("\n".join(own).encode()).hex


def _locks(locks: Mapping[str, Lock]) -> list[dict[str, Any]]:
    return [
        {"name": f"{title}/{lock.path.name}", "digest": {"sha256": Digest.of(lock.content).hex}}
        for title, lock in sorted(locks.items())
    ]


def _bases(image: Image) -> list[dict[str, Any]]:
    bases = {str(layer.source): layer.source.digest for layer in image.layers if layer.source is not None}
    return [
        {"name": "base", "uri": name, "digest": {"sha256": digest.hex}}
        for name, digest in sorted(bases.items())
        if digest is not None
    ]
