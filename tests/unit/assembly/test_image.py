"""Config and manifest of an image: canonical, complete, and of one family of media types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cfn.settings import FunctionDefinition
from pipeline.assembly.image import assemble, canonical_json, empty_base
from pipeline.assembly.model import Base, FunctionSource, Platform
from pipeline.core.errors import BaseImageError
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

SOURCE = FunctionSource(FunctionDefinition("fraud-detection"), Path("fraud-detection"), "handler.handle")


def _layer(title: str, media_type: str = OCI_LAYER_GZIP) -> Layer:
    return Layer(
        Descriptor(media_type, Digest.of(title.encode()), len(title)), Digest.of(b"tar " + title.encode()), title
    )


def _base(platform: Platform, *, docker: bool = False, **changes: Any) -> Base:
    layer = _layer("base", DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP)
    config: dict[str, Any] = {
        "architecture": platform.architecture.oci,
        "os": "linux",
        "created": "2026-11-01T00:00:00Z",
        "container": "abc",
        "container_config": {"Cmd": ["x"]},
        "config": {
            "Entrypoint": ["/lambda-entrypoint.sh"],
            "Cmd": None,
            "Env": ["PATH=/var/lang/bin", "LAMBDA_TASK_ROOT=/var/task"],
            "WorkingDir": "/var/task",
            "Labels": {"vendor": "somebody"},
        },
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id)]},
        "history": [{"created_by": "ADD base"}, {"created_by": "ENTRYPOINT", "empty_layer": True}],
        **changes,
    }
    return Base(canonical_json(config), (layer,), docker=docker)


def test_an_image_on_the_empty_base_runs_awslambdaric(platform: Platform) -> None:
    image = assemble(empty_base(platform), (_layer("runtime"), _layer("function")), source=SOURCE, platform=platform)
    config = json.loads(image.config)
    assert config["config"] == {
        "Cmd": ["handler.handle"],
        "Entrypoint": ["python3", "-m", "awslambdaric"],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LAMBDA_TASK_ROOT=/var/task", "PYTHONPATH=/var/task"],
        "Labels": {"org.opencontainers.image.title": "fraud-detection"},
        "WorkingDir": "/var/task",
    }
    assert (config["architecture"], config["os"], config["created"]) == ("arm64", "linux", "1980-01-01T00:00:00Z")
    assert config["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in image.layers]
    assert [line["created_by"] for line in config["history"]] == [
        "transaction-pipeline runtime",
        "transaction-pipeline function",
    ]
    manifest = json.loads(image.manifest)
    assert manifest["mediaType"] == image.manifest_media_type == OCI_MANIFEST
    assert manifest["config"] == {
        "mediaType": OCI_CONFIG,
        "digest": str(Digest.of(image.config)),
        "size": len(image.config),
    }
    assert [layer["mediaType"] for layer in manifest["layers"]] == [OCI_LAYER_GZIP] * 2


def test_of_a_base_only_command_labels_and_missing_variables_change(platform: Platform) -> None:
    base = _base(platform)
    image = assemble(base, (_layer("function"),), source=SOURCE, platform=platform)
    config, before = json.loads(image.config), json.loads(base.config)
    assert config["config"] == {
        **before["config"],
        "Cmd": ["handler.handle"],
        "Labels": {"vendor": "somebody", "org.opencontainers.image.title": "fraud-detection"},
    }
    assert config["history"][:2] == before["history"]
    assert "container" not in config
    assert "container_config" not in config


def test_a_base_that_is_not_made_for_lambda_gets_its_variables(platform: Platform) -> None:
    image = assemble(
        _base(platform, config={"Entrypoint": ["/run"], "Env": ["PATH=/bin"]}), (), source=SOURCE, platform=platform
    )
    run = json.loads(image.config)["config"]
    assert run["Env"] == ["PATH=/bin", "LAMBDA_TASK_ROOT=/var/task", "PYTHONPATH=/var/task"]
    assert run["WorkingDir"] == "/var/task"


def test_a_docker_base_makes_a_docker_image_throughout(platform: Platform) -> None:
    image = assemble(_base(platform, docker=True), (_layer("function"),), source=SOURCE, platform=platform)
    manifest = json.loads(image.manifest)
    assert manifest["mediaType"] == image.manifest_media_type == DOCKER_MANIFEST
    assert manifest["config"]["mediaType"] == image.config_descriptor.media_type == DOCKER_CONFIG
    assert {layer["mediaType"] for layer in manifest["layers"]} == {DOCKER_LAYER_GZIP}
    assert {layer.descriptor.media_type for layer in image.layers} == {DOCKER_LAYER_GZIP}


def test_a_base_without_history_gets_one_line_per_layer(platform: Platform) -> None:
    image = assemble(_base(platform, history=None), (_layer("function"),), source=SOURCE, platform=platform)
    assert len(json.loads(image.config)["history"]) == 2


def test_the_encoding_is_canonical(platform: Platform) -> None:
    image = assemble(_base(platform), (_layer("function"),), source=SOURCE, platform=platform)
    for content in (image.config, image.manifest):
        assert content == canonical_json(json.loads(content))
    assert canonical_json({"b": "ü", "a": [1, None]}) == '{"a":[1,null],"b":"ü"}'.encode()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "amd64"}, "made for linux/amd64, not for linux/arm64"),
        ({"os": "windows"}, "made for windows/arm64"),
        ({"rootfs": {"diff_ids": []}}, "lists 0 layers"),
        ({"rootfs": {"diff_ids": [f"sha256:{'0' * 64}"]}}, "lists 1 layers"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(platform: Platform, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BaseImageError, match=said):
        assemble(_base(platform, **changes), (), source=SOURCE, platform=platform)


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"{}", b'{"os":"linux"}', b'{"os":"linux","architecture":"arm64","config":3}']
)
def test_a_base_without_a_config_is_refused(platform: Platform, config: bytes) -> None:
    with pytest.raises(BaseImageError, match="no image config"):
        assemble(Base(config), (), source=SOURCE, platform=platform)
