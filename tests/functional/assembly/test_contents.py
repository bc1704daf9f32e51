"""Native modules that the target cannot load, and credentials, stop an image before its push."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cfn.settings import FunctionDefinition
from pipeline.assembly.build import build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.image import empty_base
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Base, FunctionSource, Image, Platform, PythonVersion
from pipeline.core.errors import CheckFailed
from pipeline.core.events import Event, Note
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, store_layer
from pipeline.target import host_platform_of_functions

HERE = host_platform_of_functions()
# A real extension module of this machine, in which names of the same length are exchanged.
NATIVE = Path(importlib.util.find_spec("msgspec._core").origin or "").read_bytes()  # type: ignore[union-attr]
NAME = "native/_core.so"
LIBC = next((path for path in Path("/lib").glob("*-linux-gnu/libc.so.6")), None)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., FunctionSource]:
    def make(files: dict[str, bytes]) -> FunctionSource:
        folder = tmp_path / "f"
        for path, content in {"handler.py": b"def handle(event, context): ...\n", **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return FunctionSource(FunctionDefinition("f"), folder, "handler.handle")

    return make


def _base(store: BlobStore, platform: Platform, files: dict[str, Path | bytes]) -> Base:
    """A base of one layer that is in the store."""
    entries = [
        TarEntry(path, "file", content, len(content) if isinstance(content, bytes) else content.stat().st_size)
        for path, content in files.items()
    ]
    layer = store_layer(store, entries, "base")
    config = json.loads(empty_base(platform).config)
    config["rootfs"]["diff_ids"] = [str(layer.diff_id)]
    return Base(json.dumps(config).encode(), (layer,))


def _image(source: FunctionSource, platform: Platform, store: BlobStore, base: Base | None = None) -> Image:
    base = base if base is not None else _base(store, platform, {"etc/os-release": b""})
    return build_image(source, platform, base, store)


def _findings(image: Image, source: FunctionSource, store: BlobStore, *allowed: str) -> list[str]:
    try:
        check_image(image, source, store, allowed=allowed)
    except CheckFailed as failed:
        return [f"{each.rule}: {each.message}" for each in failed.findings]
    return []


def test_a_module_that_fits_is_taken(source: Callable[..., FunctionSource], store: BlobStore) -> None:
    function = source({NAME: NATIVE})
    assert _findings(_image(function, HERE, store), function, store) == []


def test_a_module_of_another_architecture_is_found(source: Callable[..., FunctionSource], store: BlobStore) -> None:
    function = source({NAME: NATIVE})
    (other,) = (each for each in type(HERE.architecture) if each is not HERE.architecture)
    (found,) = _findings(_image(function, Platform(other, HERE.python), store), function, store)
    assert found == (
        f"native-architecture: /var/task/{NAME} is made for {HERE.architecture.oci}, the function runs on {other.oci}"
    )


@pytest.mark.parametrize(("python", "has"), [("3.11", "2.26"), ("3.13", "2.34")])
def test_a_module_that_needs_a_newer_glibc_than_lambda_has_is_found(
    source: Callable[..., FunctionSource], store: BlobStore, python: str, has: str
) -> None:
    function = source({NAME: NATIVE.replace(b"GLIBC_2.14", b"GLIBC_2.35")})
    image = _image(function, Platform(HERE.architecture, PythonVersion.parse(python)), store)
    assert _findings(image, function, store) == [
        f"native-glibc: /var/task/{NAME} needs glibc 2.35, the image has {has}"
    ]


@pytest.mark.skipif(LIBC is None, reason="glibc lies elsewhere")
def test_the_glibc_of_the_base_counts_where_it_can_be_read(
    source: Callable[..., FunctionSource], store: BlobStore
) -> None:
    assert LIBC is not None
    function = source({NAME: NATIVE.replace(b"GLIBC_2.14", b"GLIBC_2.35")})
    base = _base(store, HERE, {"lib/libc.so.6": LIBC})
    assert _findings(_image(function, HERE, store, base), function, store) == []


@pytest.mark.skipif(LIBC is None, reason="glibc lies elsewhere")
def test_a_missing_shared_object_is_found_where_the_base_can_be_read(
    source: Callable[..., FunctionSource], store: BlobStore
) -> None:
    assert LIBC is not None
    function = source({NAME: NATIVE.replace(b"libpthread.so.0", b"libGLother.so.0")})
    base = _base(store, HERE, {"lib/libc.so.6": LIBC})
    assert _findings(_image(function, HERE, store, base), function, store) == [
        f"native-library: /var/task/{NAME} needs libGLother.so.0, which is not in the image"
    ]
    more = _base(store, HERE, {"lib/libc.so.6": LIBC, "usr/lib/libGLother.so.0": b""})
    assert _findings(_image(function, HERE, store, more), function, store) == []


def test_a_shared_object_that_only_an_unread_base_can_have_is_a_warning(
    source: Callable[..., FunctionSource], store: BlobStore
) -> None:
    function = source({NAME: NATIVE.replace(b"libpthread.so.0", b"libGLother.so.0")})
    events: list[Event] = []
    check_image(_image(function, HERE, store), function, store, report=events.append)
    assert [each.text for each in events if isinstance(each, Note)] == [
        f"f: only the base image can have these shared objects: libGLother.so.0 (var/task/{NAME})"
    ]


def test_a_library_that_no_module_needs_is_data(source: Callable[..., FunctionSource], store: BlobStore) -> None:
    """Debuggers carry libraries for every machine."""
    function = source({"data/attach.so": NATIVE.replace(b"GLIBC_2.14", b"GLIBC_2.99")})
    assert _findings(_image(function, HERE, store), function, store) == []


def test_a_damaged_library_is_no_error(source: Callable[..., FunctionSource], store: BlobStore) -> None:
    function = source({NAME: NATIVE[:3000], "native/other.so": b"\x7fELF"})
    assert _findings(_image(function, HERE, store), function, store) == []


# In pieces, so that no scanner takes this file for a leak.
SECRETS = {
    "an AWS access key": "AKIA" + "Q3EGRIFTJ2Z4WX7A",
    "a private key": "-----BEGIN RSA PRIVATE " + "KEY-----\n" + "MIIEpAIBAAKCAQEA" * 4,
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2c" * 4,
    "a Slack token": "xoxb-" + "123456789012-" + "abcDEF" * 4,
    "a Stripe key": "sk_live_" + "a1B2" * 6,
    "a Google API key": "AIza" + "a1B2c" * 7,
    "an npm token": "npm_" + "a1B2" * 9,
    "a PyPI token": "pypi-AgEIcHlwaS5vcmc" + "a1B2c" * 12,
    "a SendGrid key": "SG." + "a" * 22 + "." + "b" * 43,
    "an Anthropic key": "sk-ant-api03-" + "a1B2" * 24,
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("before", [0, (1 << 18) - 20], ids=["at the start", "across two chunks"])
def test_a_credential_is_found_and_its_value_not_shown(
    source: Callable[..., FunctionSource], store: BlobStore, kind: str, before: int
) -> None:
    function = source({"rules/notes.txt": b"\n" * before + f" {SECRETS[kind]}\n".encode()})
    (found,) = _findings(_image(function, HERE, store), function, store)
    assert found == f"credential: /var/task/rules/notes.txt holds what looks like {kind}"
    assert _findings(_image(function, HERE, store), function, store, "rules/*.txt") == []


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",  # AWS's documentation
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",  # a parser's docstring
        "PRIVATE KEY-----",
        "https://user:password@example.org",
        "sha256:" + "ab" * 32,
    ],
)
def test_an_example_is_no_credential(source: Callable[..., FunctionSource], store: BlobStore, text: str) -> None:
    function = source({"notes.txt": text.encode()})
    assert _findings(_image(function, HERE, store), function, store) == []


def test_a_credential_in_the_base_or_in_a_variable_is_found(
    source: Callable[..., FunctionSource], store: BlobStore
) -> None:
    function = source({})
    secret = SECRETS["a GitHub token"]
    base = _base(store, HERE, {"root/.netrc": secret.encode(), "usr/share/doc/example": secret.encode()})
    config = json.loads(base.config)
    config["config"]["Env"].append(f"NETRC={secret}")
    image = _image(function, HERE, store, Base(json.dumps(config).encode(), base.layers))
    assert _findings(image, function, store) == [
        "credential: /root/.netrc holds what looks like a GitHub token",
        "credential: the variable NETRC holds what looks like a GitHub token",
    ]


def test_layers_of_dependencies_hold_no_credentials(store: BlobStore, tmp_path: Path) -> None:
    """botocore's examples and certifi's certificates are not mistaken for secrets."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "handler.py").touch()
    lock = Path(__file__).resolve().parents[2] / "packages" / "with-boto3" / "requirements.txt"
    function = FunctionSource(FunctionDefinition("f"), folder, "handler.handle", lock)
    from pipeline.assembly.dependencies.slim import Slim
    from pipeline.assembly.facts.layer_facts import facts_of

    for layer in lay_out(function, HERE, store, slim=Slim(enabled=False)):
        digest = layer.descriptor.digest
        assert facts_of(digest, lambda digest=digest: store.open(digest), None).credentials == {}  # type: ignore[misc]
