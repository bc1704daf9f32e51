"""Signatures and provenance in a real registry, judged by another implementation and by our own."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cfn.settings import FunctionDefinition
from pipeline.assembly.build import Proof
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import CheckedImage, FunctionSource, PushedImage
from pipeline.assembly.proof.attestations import attest, sign_image, signature_tag
from pipeline.assembly.proof.provenance import Origin, Parameters, provenance
from pipeline.assembly.proof.signing import Signer, read_signer
from pipeline.assembly.proof.verification import verify_image
from pipeline.core.errors import ReleaseError
from pipeline.core.events import ignore
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, Retries
from pipeline.oci.values import Artifact, Manifest
from pipeline.release.artifacts import require_proof
from pipeline.release.attach import attach
from pipeline.release.push import Push, push_images
from tests.servers.debian_registry import DebianRegistry, debian_registry, needs
from tests.servers.images import make_sbom, pair

pytestmark = needs("docker-registry")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path_factory.mktemp("docker-registry")) as running:
        yield running


@pytest.fixture
def registry(server: DebianRegistry) -> Iterator[Registry]:
    with Registry(server.host, retries=Retries(attempts=4, base=0.01)) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def _make_key(folder: Path, name: str) -> Signer:
    folder.mkdir(exist_ok=True)
    private = folder / f"{name}.pem"
    command = f"openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out {private}"
    subprocess.run(["bash", "-c", command], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", folder / f"{name}.pub"], check=True)
    return read_signer(private)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return _make_key(tmp_path / "keys", "ours")


@pytest.fixture
def image(store: BlobStore) -> CheckedImage:
    return pair(store, shared=20_000)[0]


def _statement(image: CheckedImage) -> bytes:
    source = FunctionSource(FunctionDefinition(image.function), Path("images") / image.function, "handler.handle")
    return provenance(image.image, source, {}, Origin("c" * 40, "d" * 40), Parameters(Slim(), "", "layers"))


Pushed = Callable[..., PushedImage]


@pytest.fixture
def push(server: DebianRegistry, registry: Registry, store: BlobStore, request: pytest.FixtureRequest) -> Pushed:
    """Push an image with what proves it into a repository of its own."""
    repository = f"proof/{abs(hash(request.node.name))}"

    def run(image: CheckedImage, signer: Signer, *, only: str = "") -> PushedImage:
        def artifacts() -> tuple[Artifact, ...]:
            found = {
                "signature": sign_image(image.image, f"{server.host}/{repository}", signer, store),
                "provenance": attest(image.image, _statement(image), signer, store),
                "sbom": make_sbom(image, store),
            }
            return tuple(each for name, each in found.items() if only in ("", name))

        return push_images(registry, [Push(f"{server.host}/{repository}", image, "v1", artifacts)], store)[0]

    return run


@needs("skopeo")
def test_skopeo_takes_the_signature_and_no_other(
    push: Pushed, image: CheckedImage, signer: Signer, tmp_path: Path, server: DebianRegistry
) -> None:
    """containers/image verifies what cosign writes (policy.json, "sigstoreSigned")."""
    _make_key(tmp_path / "keys", "theirs")
    pushed = push(image, signer)
    registries = tmp_path / "registries.d"
    registries.mkdir()
    (registries / "all.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n")

    def copy(key: str) -> subprocess.CompletedProcess[str]:
        rule = {
            "type": "sigstoreSigned",
            "keyPath": str(tmp_path / "keys" / f"{key}.pub"),
            "signedIdentity": {"type": "matchRepository"},
        }
        policy = tmp_path / "policy.json"
        policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {"": [rule]}}}))
        command = [
            "skopeo",
            "--policy",
            str(policy),
            "--registries.d",
            str(registries),
            "copy",
            "--src-tls-verify=false",
        ]
        command += ["--remove-signatures", f"docker://{pushed.uri}", f"oci:{tmp_path / key}:v1"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    taken = copy("ours")
    if "sigstore disabled" in taken.stderr:
        pytest.skip("this skopeo is built without it, as Debian's is")
    assert taken.returncode == 0, taken.stderr
    refused = copy("theirs")
    assert refused.returncode != 0
    assert "cryptographic signature verification failed" in refused.stderr


def test_what_was_pushed_is_proven_and_pushed_once(
    push: Pushed, image: CheckedImage, signer: Signer, registry: Registry, store: BlobStore
) -> None:
    pushed = push(image, signer)
    repository = pushed.repository_uri.partition("/")[2]
    found = verify_image(registry, repository, pushed.digest, signer.verifier, store)
    assert found.faults == ()
    assert found.sbom is not None
    assert found.provenance is not None
    (source,) = found.provenance["buildDefinition"]["resolvedDependencies"]
    assert source["digest"]["gitCommit"] == "c" * 40
    assert push(image, signer).uploaded == 0


def test_an_image_without_proof_or_with_another_key_s_is_not_proven(
    push: Pushed, image: CheckedImage, signer: Signer, registry: Registry, store: BlobStore, tmp_path: Path
) -> None:
    pushed = push(image, signer, only="sbom")
    repository = pushed.repository_uri.partition("/")[2]
    verify = partial(verify_image, registry, repository, pushed.digest, store=store)
    assert verify(key=signer.verifier).faults == ("it has no signature", "it has no signed provenance")
    push(image, signer, only="signature")
    assert verify(key=signer.verifier).faults == ("it has no signed provenance",)
    push(image, signer, only="provenance")
    assert verify(key=signer.verifier).faults == ()
    faults = verify(key=_make_key(tmp_path / "keys", "theirs").verifier).faults
    assert [fault.partition(" by another key")[0] for fault in faults] == [
        "its signature is",
        "its provenance is signed",
    ]


def test_a_signature_of_another_image_proves_nothing(
    push: Pushed, signer: Signer, registry: Registry, store: BlobStore
) -> None:
    """Someone who may push can move a signature, but not make one."""
    one, two = pair(store, shared=20_000)
    pushed = push(one, signer)
    repository = pushed.repository_uri.partition("/")[2]
    push(two, signer, only="sbom")
    moved = registry.fetch_manifest(repository, signature_tag(one.image.digest))
    registry.put_manifest(repository, moved, tag=signature_tag(two.image.digest))
    faults = verify_image(registry, repository, two.image.digest, signer.verifier, store).faults
    assert faults[0] == f"its signature is over {one.image.digest}"


def test_a_second_signature_is_kept_beside_the_first(
    push: Pushed, image: CheckedImage, signer: Signer, registry: Registry, store: BlobStore, tmp_path: Path
) -> None:
    theirs = _make_key(tmp_path / "keys", "theirs")
    pushed = push(image, signer)
    push(image, theirs)
    assert push(image, signer).uploaded == 0
    repository = pushed.repository_uri.partition("/")[2]
    for key in (signer, theirs):
        assert verify_image(registry, repository, pushed.digest, key.verifier, store).faults == ()
    manifest = json.loads(registry.fetch_manifest(repository, signature_tag(pushed.digest)).content)
    assert len(manifest["layers"]) == 2


def test_a_broken_signature_manifest_is_replaced(
    push: Pushed, image: CheckedImage, signer: Signer, registry: Registry, store: BlobStore
) -> None:
    pushed = push(image, signer, only="sbom")
    repository = pushed.repository_uri.partition("/")[2]
    tag = signature_tag(pushed.digest)
    registry.put_manifest(repository, Manifest(image.image.manifest, image.image.manifest_media_type), tag=tag)
    assert "holds no signature" in verify_image(registry, repository, pushed.digest, signer.verifier, store).faults[0]
    artifact = sign_image(image.image, pushed.repository_uri, signer, store)
    assert attach(registry, repository, pushed.digest, artifact, store) > 0
    faults = verify_image(registry, repository, pushed.digest, signer.verifier, store).faults
    assert faults == ("it has no signed provenance",)


def test_openssl_verifies_the_envelope(image: CheckedImage, signer: Signer, store: BlobStore, tmp_path: Path) -> None:
    """The envelope's signature is over DSSE's pre-authentication encoding, by a key that anyone can use."""
    artifact = attest(image.image, _statement(image), signer, store)
    bundle = json.loads(store.read(artifact.blobs[1].digest))
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    (tmp_path / "signed").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "dgst", "-sha256", "-verify", tmp_path / "keys" / "ours.pub"]
    command += ["-signature", tmp_path / "signature", tmp_path / "signed"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "Verified OK\n"


@pytest.mark.at_length
@needs("npm")
def test_sigstore_s_own_verifier_takes_the_bundle_and_no_altered_one(
    image: CheckedImage, signer: Signer, store: BlobStore, tmp_path: Path
) -> None:
    """@sigstore/verify is what npm verifies provenance with; it reads the bundles that cosign reads."""
    folder = tmp_path / "node"
    folder.mkdir()
    packages = ["@sigstore/verify@3", "@sigstore/bundle@4"]
    subprocess.run(["npm", "install", "--silent", *packages], cwd=folder, check=True, timeout=240)
    bundle = json.loads(store.read(attest(image.image, _statement(image), signer, store).blobs[1].digest))
    altered = json.loads(json.dumps(bundle))
    altered["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()
    (folder / "bundles.json").write_text(json.dumps([bundle, altered]))
    (folder / "verify.js").write_text(VERIFY)
    command = ["node", "verify.js", str(tmp_path / "keys" / "ours.pub")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["verified", "signature verification failed"], done.stderr


VERIFY = """
const fs = require("fs"), crypto = require("crypto");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");
const publicKey = crypto.createPublicKey(fs.readFileSync(process.argv[2]));
const root = { mediaType: "", tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] };
const trust = toTrustMaterial(root, () => ({ publicKey, validFor: () => true }));
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
for (const bundle of JSON.parse(fs.readFileSync("bundles.json"))) {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(bundle)));
    console.log("verified");
  } catch (error) {
    console.log(error.message);
  }
}
"""


@pytest.mark.parametrize("proven", [True, False])
def test_a_required_signature_decides_what_is_deployed(
    push: Pushed,
    image: CheckedImage,
    signer: Signer,
    registry: Registry,
    store: BlobStore,
    tmp_path: Path,
    proven: bool,
) -> None:
    pushed = push(image, signer, only="" if proven else "sbom")
    proof = Proof(verification_key=tmp_path / "keys" / "ours.pub", required=True)
    build = SimpleNamespace(proof=proof, store=store)
    deployment: Any = SimpleNamespace(build=build, target=SimpleNamespace(registry=lambda _host: registry))
    if proven:
        require_proof(deployment, [pushed.uri], ignore)
        return
    with pytest.raises(ReleaseError, match="it has no signature"):
        require_proof(deployment, [pushed.uri], ignore)
    build.proof = Proof()
    require_proof(deployment, [pushed.uri], ignore)
