"""Lambda's contract, one row per rule: what breaks it, and that nothing else is said of it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cfn.settings import Architecture
from pipeline.assembly.check import check_image, find_findings
from pipeline.assembly.facts.contents import judge_contents
from pipeline.assembly.facts.layer_facts import LayerOpener, read_facts
from pipeline.assembly.image import assemble, empty_base
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import CheckFailed, Finding
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Digest,
    Manifest,
)
from tests.unit.assembly.conftest import MakeFolder

PLATFORM = Platform(Architecture.X86_64, PythonVersion(3, 13))


def tar(*members: tuple[str, dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, attributes in members:
            info = tarfile.TarInfo(name)
            content = attributes.pop("content", b"")
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def folder(name: str, mode: int = 0o755) -> tuple[str, dict[str, Any]]:
    return name, {"type": tarfile.DIRTYPE, "mode": mode}


def file(name: str, mode: int = 0o644) -> tuple[str, dict[str, Any]]:
    return name, {"content": b"x", "mode": mode}


GOOD = tar(folder("var"), folder("var/task"), file("var/task/handler.py"))


class Pushed:
    """A valid image of another tool, until a test changes it."""

    def __init__(self, *layers: bytes) -> None:
        self.tars = list(layers or [GOOD])
        self.blobs = [gzip.compress(content, mtime=0) for content in self.tars]
        self.config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/entry"], "Cmd": ["handler.handle"], "WorkingDir": "/var/task"},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(content)) for content in self.tars]},
        }
        self.media_type = OCI_MANIFEST
        self.config_type = OCI_CONFIG
        self.layer_type = OCI_LAYER_GZIP
        self.more: dict[str, Any] = {}

    def findings(self, expected: Platform | None = PLATFORM) -> tuple[Finding, ...]:
        config = json.dumps(self.config).encode()
        document = {
            "schemaVersion": 2,
            "config": {"mediaType": self.config_type, "digest": str(Digest.of(config)), "size": len(config)},
            "layers": [
                {"mediaType": self.layer_type, "digest": str(Digest.of(blob)), "size": len(blob)} for blob in self.blobs
            ],
            **self.more,
        }
        openers: list[LayerOpener] = [lambda blob=blob: io.BytesIO(blob) for blob in self.blobs]  # type: ignore[misc]
        return find_findings(Manifest(json.dumps(document).encode(), self.media_type), config, openers, expected)


def test_a_good_image_breaks_no_rule() -> None:
    assert Pushed().findings() == ()
    assert Pushed().findings(None) == ()


def test_a_good_image_of_dockers_types_breaks_no_rule() -> None:
    pushed = Pushed()
    pushed.media_type, pushed.config_type, pushed.layer_type = DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP
    assert pushed.findings() == ()


def _set(name: str, value: object) -> Callable[[Pushed], None]:
    return lambda pushed: setattr(pushed, name, value)


def _config(**changes: object) -> Callable[[Pushed], None]:
    return lambda pushed: pushed.config.update(changes)


def _blob(content: bytes) -> Callable[[Pushed], None]:
    return lambda pushed: setattr(pushed, "blobs", [content])


def _tar(content: bytes) -> Callable[[Pushed], None]:
    return lambda pushed: pushed.__init__(content)  # type: ignore[misc]


def _many(pushed: Pushed) -> None:
    pushed.blobs *= 128
    pushed.config["rootfs"]["diff_ids"] *= 128


@pytest.mark.parametrize(
    ("spoil", "rule", "said"),
    [
        (_set("media_type", "application/vnd.docker.distribution.manifest.v1+json"), "manifest-type", "v1+json"),
        (_set("more", {"mediaType": DOCKER_MANIFEST}), "manifest-type", "calls itself"),
        (_set("more", {"annotations": {"big": "x" * 26_000}}), "manifest-size", "26,"),
        (_set("config_type", OCI_EMPTY), "config-type", "empty"),
        (_set("config_type", DOCKER_CONFIG), "config-type", "under OCI's manifest"),
        (_set("layer_type", "application/vnd.oci.image.layer.v1.tar"), "layer-type", "layer.v1.tar'"),
        (_set("layer_type", "application/vnd.oci.image.layer.v1.tar+zstd"), "layer-type", "zstd"),
        (_set("layer_type", DOCKER_LAYER_GZIP), "layer-type", "under OCI's manifest"),
        (_many, "layer-count", "128 layers"),
        (_config(os="windows"), "platform", "'windows'"),
        (_config(architecture="riscv64"), "platform", "'riscv64'"),
        (_config(architecture="arm64"), "platform", "made for arm64, the function runs on amd64"),
        (_config(config={"WorkingDir": "/var/task"}), "entrypoint", "neither an entrypoint nor a command"),
        (_config(config=None), "entrypoint", "neither"),
        (_config(rootfs={"diff_ids": []}), "diff-ids", "1 layers, its config names 0"),
        (_config(rootfs={"diff_ids": [f"sha256:{'0' * 64}"]}), "diff-ids", "the config says sha256:000"),
        (_blob(GOOD), "layer-compression", "is not compressed"),
        (_blob(b"\x28\xb5\x2f\xfd" + bytes(100)), "layer-compression", "is zstd, not gzip"),
        (_blob(b"<html>"), "layer-compression", "is neither gzip nor"),
        (_blob(gzip.compress(GOOD)[:-30]), "layer-broken", "cannot be read"),
        (_blob(gzip.compress(GOOD)[:60]), "layer-broken", "stops in the middle"),
        (_blob(gzip.compress(b"not a tar archive" * 100)), "layer-broken", "cannot be read"),
        (_tar(GOOD[:512] + b"x" * 512 + GOOD[1024:]), "layer-broken", "headers is damaged"),
        (_tar(GOOD[:700]), "layer-broken", "stops in the middle of a header"),
    ],
)
def test_each_rule_is_found(spoil: Callable[[Pushed], None], rule: str, said: str) -> None:
    pushed = Pushed()
    spoil(pushed)
    (finding,) = pushed.findings()
    assert finding.rule == rule
    assert said in finding.message
    assert finding.cure
    assert finding.source


@pytest.mark.parametrize(
    ("content", "rule", "said"),
    [
        (
            tar(folder("a"), file("a/b"), ("a/c", {"type": tarfile.LNKTYPE, "linkname": "a/b"})),
            "layer-hard-link",
            "a/c to a/b",
        ),
        (tar(file("a/b")), "layer-parents", "a/b without an entry for its folder"),
        (
            tar(folder("a"), file("a/b/c"), file("a/b/d")),
            "layer-parents",
            "a/b/c without an entry for its folder before it and 1 more",
        ),
        (tar(folder("a/b"), folder("a")), "layer-parents", "a/b without"),
        (tar(file("/etc")), "layer-entry", "the path '/etc' leads out of the layer"),
        (
            tar(folder("a"), folder("a/.."), file("a/../b")),
            "layer-entry",
            "the path 'a/../' leads out of the layer and 1 more",
        ),
        (tar(folder("a"), file("a/.wh.")), "layer-entry", "the whiteout 'a/.wh.' names nothing"),
        (tar(folder("a"), file("a/.wh...")), "layer-entry", "the whiteout 'a/.wh...' names nothing"),
        (tar(folder("var"), folder("var/task"), file("var/task/x", 0o600)), "unreadable-file", "/var/task/x (layer 1)"),
        (tar(folder("var"), folder("var/task", 0o700)), "unreadable-file", "/var/task (layer 1)"),
        (tar(folder("var", 0o750)), "unreadable-file", "/var (layer 1)"),
    ],
)
def test_each_rule_of_a_layers_content_is_found(content: bytes, rule: str, said: str) -> None:
    (finding,) = Pushed(content).findings()
    assert finding.rule == rule
    assert said in finding.message


@pytest.mark.parametrize(
    "content",
    [
        tar(folder("a"), ("a/\x1b[2J\udcff", {"type": tarfile.LNKTYPE, "linkname": "a"})),
        tar(file("a\n/b")),
        tar(folder("var"), folder("var/task"), file("var/task/\udcff\r", 0o600)),
    ],
)
def test_a_name_that_would_steer_a_terminal_is_quoted(content: bytes) -> None:
    (finding,) = Pushed(content).findings()
    assert finding.message.isprintable()


@pytest.mark.parametrize(
    "content",
    [
        tar(folder("./"), folder("./a"), file("./a/b")),
        tar(folder("etc"), file("etc/shadow", 0o600), folder("root", 0o700)),
        tar(folder("a"), ("a/l", {"type": tarfile.SYMTYPE, "linkname": "/etc/x", "mode": 0})),
        tar(folder("x" * 200), file("x" * 200 + "/ü" + "y" * 200)),
        tar(),
    ],
)
def test_ordinary_layers_break_no_rule(content: bytes) -> None:
    assert Pushed(content).findings() == ()


@pytest.mark.parametrize(
    "later",
    [
        tar(folder("var"), folder("var/task"), file("var/task/x", 0o644)),
        tar(folder("var"), folder("var/task"), file("var/task/.wh.x")),
    ],
)
def test_a_later_layer_mends_an_unreadable_file(later: bytes) -> None:
    earlier = tar(folder("var"), folder("var/task"), file("var/task/x", 0o600))
    assert Pushed(earlier, later).findings() == ()
    assert [finding.rule for finding in Pushed(later, earlier).findings()] == ["unreadable-file"]


def test_the_working_folder_must_be_readable_wherever_it_is() -> None:
    pushed = Pushed(tar(folder("app"), file("app/x", 0o600)))
    assert pushed.findings() == ()
    pushed.config["config"]["WorkingDir"] = "/app"
    assert [finding.rule for finding in pushed.findings()] == ["unreadable-file"]


def test_an_image_that_unpacks_to_more_than_10_gb_is_found() -> None:
    pushed = Pushed()
    header = tarfile.TarInfo("huge")
    header.size = 11 * 1024**3
    pushed.blobs = [gzip.compress(header.tobuf())]
    (finding,) = pushed.findings()
    assert "'huge' claims 11,811,160,064 bytes, more than an image may have" in finding.message


def test_an_image_of_several_layers_that_unpacks_to_more_than_10_gb_is_found() -> None:
    pushed = Pushed(GOOD, GOOD)
    header = tarfile.TarInfo("large")
    header.size = 6 * 1024**3
    pushed.blobs = [gzip.compress(header.tobuf())] * 2
    assert {finding.rule for finding in pushed.findings()} == {"image-size", "layer-broken"}


def test_an_entry_through_a_link_is_found() -> None:
    """The folder of that name makes the entry look as if it had its parent."""
    link = ("a", {"type": tarfile.SYMTYPE, "linkname": "/etc"})
    found = {finding.rule: finding.message for finding in Pushed(tar(folder("a"), link, file("a/x"))).findings()}
    assert "'a/x' goes through the link 'a'" in found["layer-entry"]
    assert "without an entry for its folder" in found["layer-parents"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": {"Env": [1, 2], "Cmd": ["x"]}}, "at `$.config.Env[0]`"),
        ({"config": {"Env": "PATH=/", "Cmd": ["x"]}}, "at `$.config.Env`"),
        ({"config": {"Entrypoint": "/entry"}}, "at `$.config.Entrypoint`"),
        ({"config": {"Cmd": ["x"], "WorkingDir": 7}}, "at `$.config.WorkingDir`"),
        ({"config": {"Cmd": ["x"], "Labels": {"a": None}}}, "at `$.config.Labels[...]`"),
        ({"config": []}, "at `$.config`"),
        ({"rootfs": {"diff_ids": "sha256:0"}}, "at `$.rootfs.diff_ids`"),
        ({"architecture": 64}, "at `$.architecture`"),
    ],
)
def test_a_config_of_other_types_is_refused(change: dict[str, Any], said: str) -> None:
    pushed = Pushed()
    pushed.config |= change
    (finding, *_) = pushed.findings()
    assert finding.rule == "config"
    assert said in finding.message


def test_findings_of_one_rule_are_counted_not_listed() -> None:
    pushed = Pushed()
    pushed.blobs *= 10_000
    pushed.config["rootfs"]["diff_ids"] *= 10_000
    pushed.layer_type = "application/x-other"
    findings = pushed.findings()
    assert len(str(findings)) < 10_000
    assert "layer-type has 9990 more findings" in [finding.message for finding in findings]


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    header = tarfile.TarInfo("big")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    pushed = Pushed()
    pushed.blobs = [gzip.compress(header.tobuf(tarfile.GNU_FORMAT))]
    (finding,) = pushed.findings()
    assert "extended header" in finding.message


def _index(*children: dict[str, Any], media_type: str = OCI_INDEX) -> tuple[Finding, ...]:
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": children}).encode()
    return find_findings(Manifest(content, media_type), None, (), PLATFORM)


def _child(name: str, architecture: str, system: str = "linux", **more: object) -> dict[str, Any]:
    platform = {"architecture": architecture, "os": system}
    return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(name.encode())), "size": 1, "platform": platform, **more}


def test_an_index_with_one_fitting_image_offers_it() -> None:
    attestation = _child("c", "unknown", "unknown")
    (finding,) = _index(_child("a", "amd64"), _child("b", "arm64"), attestation)
    assert finding.rule == "image-index"
    assert f"@{Digest.of(b'a')}" in finding.cure


def test_an_index_without_a_fitting_image_says_so() -> None:
    (finding,) = _index(_child("b", "arm64"), media_type=DOCKER_INDEX)
    assert "Docker manifest list" in finding.message
    assert "holds no image for linux/amd64" in finding.cure


def test_an_index_with_several_fitting_images_offers_none() -> None:
    (finding,) = _index(_child("a", "amd64"), _child("b", "amd64"))
    assert "2 images" in finding.cure


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_found(content: bytes) -> None:
    (finding,) = find_findings(Manifest(content, OCI_MANIFEST), None, ())
    assert finding.rule == "manifest"


@pytest.mark.parametrize(
    "document",
    [{}, {"mediaType": []}, {"config": 3, "layers": 4}, {"layers": [None, {}, {"digest": 5}]}, {"manifests": "x"}],
)
def test_a_strange_manifest_is_judged_and_not_a_bug(document: dict[str, Any]) -> None:
    content = json.dumps(document).encode()
    assert find_findings(Manifest(content, OCI_MANIFEST), b"{}", (None, None, None))


@pytest.mark.parametrize(
    "run", [None, 3, [], {"Env": 3, "WorkingDir": 4, "Cmd": ["x"]}, {"Env": [None], "Entrypoint": "x"}]
)
def test_a_strange_config_is_judged_and_not_a_bug(run: object) -> None:
    pushed = Pushed(tar(folder("var"), folder("var/task"), file("var/task/x", 0o600)))
    pushed.config["config"] = run
    assert "unreadable-file" in {finding.rule for finding in pushed.findings()}


def test_findings_come_all_at_once_and_with_their_cures(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    make_function("f")
    (source,) = find_sources(images)
    image = assemble(empty_base(platform), lay_out(source, platform, store), source=source, platform=platform)
    wrong = type(image)(
        image.manifest + b" " * 26_000,
        DOCKER_MANIFEST,
        image.config,
        image.config_descriptor,
        image.layers,
        PLATFORM,
    )
    with pytest.raises(CheckFailed) as caught:
        check_image(wrong, source, store)
    rules = {finding.rule for finding in caught.value.findings}
    assert rules == {"manifest-type", "manifest-size", "config-type", "layer-type", "platform"}
    assert all(finding.message in caught.value.why for finding in caught.value.findings)
    assert all(finding.cure in str(caught.value.next_step) for finding in caught.value.findings)
    assert caught.value.what == "the image of f failed the check"


def test_a_layer_is_read_once_and_then_remembered(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_function("f")
    (source,) = find_sources(images)
    image = assemble(empty_base(platform), lay_out(source, platform, store), source=source, platform=platform)
    assert check_image(image, source, store).image == image
    monkeypatch.setattr("pipeline.assembly.facts.layer_facts.read_facts", lambda _: pytest.fail("read again"))
    assert check_image(image, source, store).function == "f"


def test_special_files_are_a_warning() -> None:
    """A base may have devices in /dev; nothing says that Lambda refuses them."""
    facts = read_facts(lambda: io.BytesIO(gzip.compress(tar(folder("dev"), ("dev/null", {"type": tarfile.CHRTYPE})))))
    judged = judge_contents([facts], [], Platform(Architecture.ARM64, PythonVersion(3, 13)))
    assert judged.findings == ()
    (warning,) = judged.warnings
    assert warning.startswith("dev/null is a device: the local runtime leaves it out")
