"""Lambda's contract for images, checked before a push and on images of any origin.

Every rule has an id, a message with the offending value, a cure, and its source. The rules judge bytes: a manifest, a
config and layers from any registry, layout or store; all findings are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.assembly.facts.contents import judge_contents
from pipeline.assembly.facts.layer_facts import LayerFacts, LayerOpener, facts_of, replaced
from pipeline.assembly.model import CheckedImage, EngineImage, FunctionSource, Image, Platform
from pipeline.core.documents import parse_json
from pipeline.core.errors import CheckFailed, Finding
from pipeline.core.events import Note, Report, ignore
from pipeline.core.shown import shorten, shown
from pipeline.oci.archive import UNPACKED_MAX
from pipeline.oci.blobs import BlobStore
from pipeline.oci.config import config_fault
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Digest,
    Layer,
    Manifest,
)

# Lambda's own recommendation, close to the size above which it refuses (developer guide, "Container images" quotas).
MANIFEST_MAX = 25_400
# What container runtimes can stack (overlay mounts); Lambda documents no number.
LAYERS_MAX = 127

_GUIDE = "AWS Lambda developer guide, Create a Lambda function using a container image"
_MEDIA_TYPE_ERROR = 'Lambda: "The image manifest, config or layer media type for the source image … is not supported"'
_LAYER_ERROR = "Lambda: InvalidImage: ImageLayerFailure: UnsupportedImageLayerDetected (bazel-contrib/rules_oci #777)"
_PARENT_ERROR = "Lambda: InvalidImage: MissingParentDirectory (aspect-build/rules_aws #103)"
_LINK_ERROR = "Lambda: InvalidImage: ImageLayerFailure: UnsupportedImageLayerDetected (reported for hard links)"
_OCI = "OCI image specification"
_FAMILIES = {
    OCI_MANIFEST: ("OCI", OCI_CONFIG, OCI_LAYER_GZIP),
    DOCKER_MANIFEST: ("Docker", DOCKER_CONFIG, DOCKER_LAYER_GZIP),
}
_NOT_GZIP = {"none": "is not compressed", "unknown": "is neither gzip nor anything else that is known"}
# Folders that a function needs at run time; what else a base keeps from unprivileged users is its own business.
_UNSAFE = f"{_OCI}, layer; what Lambda does with it is not documented, and the local runtime refuses it"
_NEEDED = ("var/task", "var/runtime", "var/lang", "opt")
# Findings of one rule; an image can be made that breaks one ten thousand times.
_FINDINGS_MAX = 10
_REBUILD = "Build the image again with this tool, or with `docker build --provenance=false`."


def check_image(
    image: Image,
    source: FunctionSource,
    store: BlobStore,
    *,
    allowed: Sequence[str] = (),
    report: Report = ignore,
) -> CheckedImage:
    """The image, certified. Raises CheckFailed with every finding; reports what cannot be decided.

    allowed  paths below the task root, or patterns of them, that may hold what looks like a credential

    Layers are read from the store, once per digest. A layer that is not there (a base that ECR already has) is judged
    by the manifest alone, and so are the layers of AWS's own Lambda bases: they are what Lambda runs.
    """
    cache = store.root / "checked"
    openers = [_opener(layer, store) for layer in image.layers]
    manifest = Manifest(image.manifest, image.manifest_media_type)
    findings = find_findings(manifest, image.config, openers, image.platform, cache=cache)
    findings += tuple(_judge_handler(image, source))
    layers = [
        facts_of(layer.descriptor.digest, opener, cache) if opener is not None else None
        for layer, opener in zip(image.layers, openers, strict=True)
    ]
    variables = [str(each) for each in _run(_parse(image.config) or {}).get("Env") or []]
    judged = judge_contents(layers, variables, image.platform, allowed)
    for warning in judged.warnings:
        report(Note(f"{source.name}: {warning}"))
    findings = _few([*findings, *judged.findings])
    if findings:
        raise failure(source.name, findings)
    # The manifest of an image of the engine is made here, since engines do not keep one.
    chosen = source.prebuilt is not None and not isinstance(source.prebuilt.place, EngineImage)
    return CheckedImage(source.name, image, exact=chosen)


def failure(name: str, findings: Sequence[Finding]) -> CheckFailed:
    """All findings of one image as one error."""
    if len(findings) == 1:
        why, cure = findings[0].message, findings[0].cure
    else:
        why = f"{len(findings)} rules are broken" + "".join(f"\n  - {each.message}" for each in findings) + "\n"
        cure = "".join(f"\n  - {each.rule}: {each.cure}" for each in findings)
    return CheckFailed(f"the image of {name} failed the check", why, cure, tuple(findings))


def _opener(layer: Layer, store: BlobStore) -> LayerOpener | None:
    origin = layer.source
    if origin is not None and origin.registry == "public.ecr.aws" and origin.repository.startswith("lambda/"):
        return None
    digest = layer.descriptor.digest
    return partial(store.open, digest) if store.has(digest) else None


def _judge_handler(image: Image, source: FunctionSource) -> Iterator[Finding]:
    if not source.handler:
        return
    command = _run(_parse(image.config) or {}).get("Cmd")
    if command != [source.handler]:
        yield Finding(
            "command",
            f"its command is {command}, not the handler {source.handler!r}",
            "Set CMD to the handler of function.toml.",
            "AWS Lambda developer guide, Deploy Python Lambda functions with container images",
        )


def find_findings(
    manifest: Manifest,
    config: bytes | None,
    layers: Sequence[LayerOpener | None],
    expected: Platform | None = None,
    *,
    cache: Path | None = None,
) -> tuple[Finding, ...]:
    """Every rule of Lambda that an image breaks; () for an image that Lambda takes.

    config    the bytes of the image config; None when the manifest is an index, which has none
    layers    one opener for each layer of the manifest, in order; None for a layer whose content is not judged
    expected  what the function runs on; None takes either architecture of Lambda
    cache     a folder to remember what layers hold, by digest

    Raises OSError when a layer cannot be read, and what an opener raises.
    """
    document = _parse(manifest.content)
    if document is None:
        return (Finding("manifest", "its manifest is not a JSON object", "Push the image again.", f"{_OCI}, manifest"),)
    if manifest.media_type in (OCI_INDEX, DOCKER_INDEX) or "manifests" in document:
        return (_judge_index(manifest, document, expected),)
    findings = [*_judge_manifest(manifest, document)]
    settings = _parse(config or b"")
    if settings is None:
        findings.append(
            Finding("config", "its config is not a JSON object", "Push the image again.", f"{_OCI}, config")
        )
        settings = {}
    elif fault := config_fault(settings):
        # What its values mean cannot be judged.
        findings.append(Finding("config", f"its config is no image config: {fault}", _REBUILD, f"{_OCI}, config"))
        settings = {}
    else:
        findings += _judge_config(settings, document, expected)
    if len(layers) <= LAYERS_MAX:
        findings += _judge_layers(document, settings, layers, cache)
    return _few(findings)


def _few(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """At most ``_FINDINGS_MAX`` findings of each rule, the last of which counts the rest."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.rule, []).append(finding)
    few = []
    for rule, each in found.items():
        few += each[:_FINDINGS_MAX]
        if len(each) > _FINDINGS_MAX:
            message = f"{each[0].rule} has {len(each) - _FINDINGS_MAX} more findings"
            few.append(Finding(rule, message, each[0].cure, each[0].source))
    return tuple(few)


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def fitting_children(document: dict[str, Any], expected: Platform | None) -> list[Digest]:
    """The digests of an index's images that Lambda could run on ``expected``; attestations are no images."""
    found = []
    for child in _objects(document.get("manifests")):
        platform = child.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        architectures = ("amd64", "arm64") if expected is None else (expected.architecture.oci,)
        # An index of one image need not say its platform.
        fits = not platform or (platform.get("os") == "linux" and platform.get("architecture") in architectures)
        if fits and child.get("mediaType") in (OCI_MANIFEST, DOCKER_MANIFEST) and not child.get("artifactType"):
            digest = _digest(child)
            if digest is not None:
                found.append(digest)
    return found


def _judge_index(manifest: Manifest, document: dict[str, Any], expected: Platform | None) -> Finding:
    children = fitting_children(document, expected)
    kind = "a Docker manifest list" if manifest.media_type == DOCKER_INDEX else "an OCI index"
    if len(children) == 1:
        cure = f"Use its one fitting image by digest: @{children[0]}; or build with --provenance=false --sbom=false."
    elif children:
        cure = f"Choose one of its {len(children)} images by digest, or build for a single platform."
    else:
        cure = f"It holds no image for {expected or 'Lambda'}; build one with --platform and --provenance=false."
    return Finding("image-index", f"its manifest is {kind}, which Lambda refuses", cure, _MEDIA_TYPE_ERROR)


def _judge_manifest(manifest: Manifest, document: dict[str, Any]) -> Iterator[Finding]:
    family = _FAMILIES.get(manifest.media_type)
    if family is None:
        yield Finding(
            "manifest-type",
            f"its manifest has the media type {shorten(manifest.media_type)}",
            f"Lambda takes {OCI_MANIFEST} and {DOCKER_MANIFEST}. {_REBUILD}",
            _MEDIA_TYPE_ERROR,
        )
    said = document.get("mediaType")
    if said is not None and said != manifest.media_type:
        yield Finding(
            "manifest-type",
            f"its manifest calls itself {shorten(str(said))} and is served as {shorten(manifest.media_type)}",
            "Push the image again, with one media type.",
            f"{_OCI}, manifest",
        )
    if len(manifest.content) >= MANIFEST_MAX:
        yield Finding(
            "manifest-size",
            f"its manifest has {len(manifest.content):,} bytes; Lambda requires fewer than {MANIFEST_MAX:,}",
            "Use fewer layers and annotations, or squash the base.",
            f"{_GUIDE}: manifest size",
        )
    count = len(_objects(document.get("layers")))
    if not count:
        yield Finding("layer-count", "it has no layer", "Add the function's files.", f"{_OCI}, manifest")
    if count > LAYERS_MAX:
        yield Finding(
            "layer-count",
            f"it has {count} layers, more than the {LAYERS_MAX} that can be stacked",
            "Join layers, or squash the base.",
            "Linux overlay mounts, as in Docker",
        )
    if family is not None:
        yield from _judge_types(document, *family)


def _judge_types(document: dict[str, Any], name: str, config_type: str, layer_type: str) -> Iterator[Finding]:
    config = document.get("config")
    found = config.get("mediaType") if isinstance(config, dict) else None
    if found != config_type:
        yield Finding(
            "config-type",
            f"its config has the media type {shorten(str(found))} under {name}'s manifest",
            f"Lambda needs {config_type} there; an artifact such as an SBOM is no image. {_REBUILD}",
            _MEDIA_TYPE_ERROR,
        )
    for number, layer in enumerate(_objects(document.get("layers")), 1):
        found = layer.get("mediaType")
        if found != layer_type:
            yield Finding(
                "layer-type",
                f"{_place(number, layer)} has the media type {shorten(str(found))} under {name}'s manifest",
                f"Lambda needs gzip: {layer_type}. Recompress the layer, or build with `--output compression=gzip`.",
                _LAYER_ERROR,
            )


def _judge_config(settings: dict[str, Any], document: dict[str, Any], expected: Platform | None) -> Iterator[Finding]:
    system, architecture = settings.get("os"), settings.get("architecture")
    if system != "linux":
        yield Finding(
            "platform", f"it is made for {shorten(str(system))}, not for linux", "Build with --platform.", _GUIDE
        )
    if architecture not in ("amd64", "arm64"):
        yield Finding(
            "platform",
            f"it is made for the architecture {shorten(str(architecture))}",
            "Build for arm64 or amd64.",
            _GUIDE,
        )
    elif expected is not None and architecture != expected.architecture.oci:
        yield Finding(
            "platform",
            f"it is made for {architecture}, the function runs on {expected.architecture.oci}",
            f"Build with --platform linux/{expected.architecture.oci}, or change the function's architecture.",
            _GUIDE,
        )
    run = _run(settings)
    if not run.get("Entrypoint") and not run.get("Cmd"):
        yield Finding(
            "entrypoint",
            "it has neither an entrypoint nor a command",
            "Set ENTRYPOINT and CMD, or use a base that has them.",
            "AWS Lambda developer guide, Troubleshoot container images: Runtime.InvalidEntrypoint",
        )
    layers, diff_ids = len(_objects(document.get("layers"))), len(_diff_ids(settings))
    if layers != diff_ids:
        yield Finding(
            "diff-ids",
            f"its manifest has {layers} layers, its config names {diff_ids}",
            "Push the image again.",
            f"{_OCI}, config",
        )


def _judge_layers(
    document: dict[str, Any], settings: dict[str, Any], layers: Sequence[LayerOpener | None], cache: Path | None
) -> Iterator[Finding]:
    unpacked = 0
    diff_ids = _diff_ids(settings)
    unreadable: dict[str, int] = {}
    for number, (layer, opener) in enumerate(zip(_objects(document.get("layers")), layers, strict=False), 1):
        digest = _digest(layer)
        if digest is None:
            yield Finding(
                "layer-digest", f"layer {number} has no digest", "Push the image again.", f"{_OCI}, descriptor"
            )
            continue
        size = layer.get("size")
        if opener is None:
            unpacked += size if isinstance(size, int) else 0  # it unpacks to no less
            continue
        facts = facts_of(digest, opener, cache)
        unpacked += facts.unpacked
        place = _place(number, layer)
        yield from _judge_content(place, facts)
        if number <= len(diff_ids) and facts.diff_id and not facts.broken and facts.diff_id != diff_ids[number - 1]:
            yield Finding(
                "diff-ids",
                f"{place} holds {facts.diff_id}, the config says {diff_ids[number - 1]}",
                "Push the image again.",
                f"{_OCI}, config",
            )
        if unreadable and facts.compression == "gzip" and not facts.broken:
            for path in replaced(opener, set(unreadable)):
                del unreadable[path]
        unreadable |= {path: number for path in facts.unreadable if _is_needed(path, settings)}
    if unreadable:
        path = next(iter(unreadable))
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        yield Finding(
            "unreadable-file",
            f"{shown('/' + path)} (layer {unreadable[path]}){more} cannot be read by other users than its owner",
            "Let everybody read files (0644) and enter folders (0755): `COPY --chmod=755`, or `RUN chmod -R a+rX`.",
            f"{_GUIDE}: the default Lambda user must be able to read all files",
        )
    if unpacked > UNPACKED_MAX:
        yield Finding(
            "image-size",
            f"it unpacks to {unpacked:,} bytes, Lambda takes {UNPACKED_MAX:,}",
            "Leave files out, or load large ones from S3 or EFS when the function starts.",
            "AWS Lambda developer guide, quotas: container image code package size",
        )


def _judge_content(place: str, facts: LayerFacts) -> Iterator[Finding]:
    if facts.compression != "gzip":
        found = _NOT_GZIP.get(facts.compression, f"is {facts.compression}, not gzip")
        cure = "Recompress the layer with gzip, or build with `--output compression=gzip`."
        yield Finding("layer-compression", f"{place} {found}", cure, _LAYER_ERROR)
        return
    if facts.broken:
        yield Finding("layer-broken", f"{place} cannot be read: {facts.broken}", "Push the image again.", _LAYER_ERROR)
    for kind, (count, example) in sorted(facts.problems.items()):
        more = f" and {count - 1} more" if count > 1 else ""
        match kind:
            case "hard links":
                cure = "Pack the layer with `tar --hard-dereference`, or copy the files in a later build stage."
                message = f"{place} has the hard link {example}{more}"
                yield Finding("layer-hard-link", message, cure, _LINK_ERROR)
            case "missing parents":
                cure = "Add an entry for every folder before what is in it; `docker build` does."
                message = f"{place} has {example} without an entry for its folder before it{more}"
                yield Finding("layer-parents", message, cure, _PARENT_ERROR)
            case "unsafe":
                cure = "Pack files, folders and links only, under relative paths that stay below the root."
                yield Finding("layer-entry", f"{place} is not safe to unpack: {example}{more}", cure, _UNSAFE)


def _is_needed(path: str, settings: dict[str, Any]) -> bool:
    """Whether a function needs a path: it is in, or above, the task root, a runtime folder or the working folder."""
    run = _run(settings)
    variables = run.get("Env")
    roots = [*_NEEDED, str(run.get("WorkingDir") or "")]
    if isinstance(variables, list):
        roots += [str(each).partition("=")[2] for each in variables if str(each).startswith("LAMBDA_TASK_ROOT=")]
    return any(
        path == root or path.startswith(f"{root}/") or root.startswith(f"{path}/")
        for root in (each.strip("/") for each in roots)
        if root
    )


def _run(settings: dict[str, Any]) -> dict[str, Any]:
    """What a config says of how to run the image."""
    run = settings.get("config")
    return run if isinstance(run, dict) else {}


def _place(number: int, layer: dict[str, Any]) -> str:
    return f"layer {number} ({str(layer.get('digest'))[:19]}…)"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _diff_ids(settings: dict[str, Any]) -> list[str]:
    rootfs = settings.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [str(each) for each in found] if isinstance(found, list) else []


def _digest(descriptor: dict[str, Any]) -> Digest | None:
    try:
        return Digest.parse(str(descriptor.get("digest")))
    except ValueError:
        return None
