"""Layers on a base into an image: canonical config and manifest, whose digest is known before any push."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pipeline.assembly.model import TASK_ROOT, Base, FunctionSource, Image, Platform
from pipeline.core.errors import BaseImageError
from pipeline.oci.tarball import CREATED
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Digest,
    Layer,
)

# Members of Docker's config that describe the container in which the base was built, not the image.
_STALE = ("container", "container_config", "docker_version", "parent", "id")


def canonical_json(value: object) -> bytes:
    """The one encoding of a document: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def empty_base(platform: Platform) -> Base:
    """A base of no layers, for a runtime that brings its own Python: awslambdaric comes in a layer."""
    return Base(
        canonical_json(
            {
                "architecture": platform.architecture.oci,
                "os": "linux",
                "config": {
                    "Entrypoint": ["python3", "-m", "awslambdaric"],
                    "Env": [
                        "PATH=/usr/local/bin:/usr/bin:/bin",
                        f"LAMBDA_TASK_ROOT={TASK_ROOT}",
                        f"PYTHONPATH={TASK_ROOT}",
                    ],
                    "WorkingDir": TASK_ROOT,
                },
                "rootfs": {"type": "layers", "diff_ids": []},
                "history": [],
            }
        )
    )


def assemble(
    base: Base,
    layers: tuple[Layer, ...],
    *,
    source: FunctionSource,
    platform: Platform,
) -> Image:
    """The image of a function: the base with ``layers`` on top, the handler as command, the name as title.

    Of the base's config only the command, labels and missing variables change. The manifest has one family of media
    types throughout, the base's. Raises BaseImageError for a base whose config does not fit its layers or platform.
    """
    config = _base_config(base, platform)
    config["rootfs"] = {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in (*base.layers, *layers)]}
    config["history"] = [
        *_history(config.get("history"), base),
        *({"created": CREATED, "created_by": f"transaction-pipeline {layer.title}"} for layer in layers),
    ]
    config["created"] = CREATED
    run = config["config"]
    run["Cmd"] = [source.handler]
    run["Env"] = _environment(run.get("Env") or [])
    run.setdefault("WorkingDir", TASK_ROOT)
    run["Labels"] = {**(run.get("Labels") or {}), "org.opencontainers.image.title": source.name}
    config_bytes = canonical_json(config)
    media_type, config_type, layer_type = (
        (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP)
        if base.docker
        else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP)
    )
    own = tuple(replace(layer, descriptor=replace(layer.descriptor, media_type=layer_type)) for layer in layers)
    descriptor = Descriptor(config_type, Digest.of(config_bytes), len(config_bytes))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": document(descriptor),
        "layers": [document(layer.descriptor) for layer in (*base.layers, *own)],
    }
    return Image(canonical_json(manifest), media_type, config_bytes, descriptor, (*base.layers, *own), platform)


def document(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as manifests write it."""
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _base_config(base: Base, platform: Platform) -> dict[str, Any]:
    name = str(base.reference) if base.reference is not None else "the base"
    what = "the image was not assembled"
    try:
        config = json.loads(base.config)
        architecture, system = config["architecture"], config["os"]
        diff_ids = (config.get("rootfs") or {}).get("diff_ids") or []
        run = dict(config.get("config") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseImageError(
            what, f"the config of {name} is no image config ({error})", "Choose another base."
        ) from error
    if (system, architecture) != ("linux", platform.architecture.oci):
        raise BaseImageError(
            what,
            f"{name} is made for {system}/{architecture}, not for linux/{platform.architecture.oci}",
            "Choose a base for the function's architecture.",
        )
    if diff_ids != [str(layer.diff_id) for layer in base.layers]:
        raise BaseImageError(
            what,
            f"the config of {name} lists {len(diff_ids)} layers, its manifest has {len(base.layers)} or others",
            "Fetch the base again, or choose another one.",
        )
    config = {key: value for key, value in config.items() if key not in _STALE}
    return {**config, "config": run}


def _history(history: object, base: Base) -> list[Any]:
    """The base's history, or one line per layer if its own does not fit: some readers require one line each."""
    lines = history if isinstance(history, list) else []
    if sum(1 for line in lines if isinstance(line, dict) and not line.get("empty_layer")) == len(base.layers):
        return lines
    return [{"created": CREATED, "created_by": "base"} for _ in base.layers]


def _environment(variables: list[str]) -> list[str]:
    names = {variable.partition("=")[0] for variable in variables}
    if "LAMBDA_TASK_ROOT" in names:
        return variables
    # A base that is not made for Lambda does not look into the task root.
    added = [f"LAMBDA_TASK_ROOT={TASK_ROOT}"]
    if "PYTHONPATH" not in names:
        added.append(f"PYTHONPATH={TASK_ROOT}")
    return [*variables, *added]
