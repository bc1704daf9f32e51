"""Commands about what is in an image: verify, why-changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from commands.context import Context, Outcome
from commands.declared import Text, command, file, flag
from pipeline.core.errors import BaseImageError, NextStep, PipelineError, ReleaseError, SettingsError
from pipeline.core.files import cache_folder
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, connect
from pipeline.oci.registry.refusals import is_ecr
from pipeline.oci.values import Digest, ImageReference

if TYPE_CHECKING:
    from pipeline.assembly.difference import Compared
    from pipeline.assembly.proof.kms import KmsKey
    from pipeline.assembly.proof.verification import Proven
    from pipeline.target import Target


@command(
    "Verify an image's signature and provenance.",
    click.Argument(["image"], type=Text()),
    file("--key", "The public key; default: verification_key of environments.toml.", exists=True),
    flag("--rebuild", "Also build the image again from this project's sources, and compare."),
)
def verify(context: Context, *, image: str, key: Path | None, rebuild: bool) -> Outcome:
    """Verify the signature and the SLSA provenance of an image in a registry, and find its bill of materials.

    Exit code 1 if one of them does not hold, or if the rebuilt image is another one.
    """
    from pipeline.assembly.proof.key_places import verifier_of
    from pipeline.assembly.proof.verification import facts_of, verify_image

    reference = _parse(image, "nothing was verified")
    verifier = verifier_of(key if key is not None else _configured(context))
    store = BlobStore(cache_folder())
    with _registry(context, reference) as registry:
        digest = reference.digest or registry.fetch_manifest(reference.repository, reference.tag or "latest").digest
        found = verify_image(registry, reference.repository, digest, verifier, store)
    faults = list(found.faults)
    rebuilt: str | None = None
    if rebuild and found.provenance is not None:
        try:
            rebuilt = str(_rebuild(context, found.provenance))
        except PipelineError as error:
            faults.append(f"it was not rebuilt: {error.why}")
        else:
            if rebuilt != str(digest):
                faults.append(f"these sources give {rebuilt}")
    elif rebuild:
        faults.append("it was not rebuilt, because nothing says how it was built")
    lines = [f"{reference.registry}/{reference.repository}@{digest}  {'not proven' if faults else 'proven'}"]
    lines += [f"  {fault}" for fault in faults]
    if found.provenance is not None:
        lines += [f"  {name}: {value}" for name, value in facts_of(found.provenance).items()]
    lines.append(f"  bill of materials: {found.sbom or 'none'}")
    if rebuilt is not None and not faults:
        lines.append("  rebuilt from these sources: the same digest")
    result = {
        "image": f"{reference.registry}/{reference.repository}",
        "digest": str(digest),
        "proven": not faults,
        "faults": faults,
        "provenance": found.provenance,
        "bill_of_materials": str(found.sbom) if found.sbom else None,
        "rebuilt": rebuilt,
    }
    return Outcome(result, "\n".join(lines), 1 if faults else 0)


def _parse(text: str, what: str) -> ImageReference:
    from pipeline.bases.resolve import hub_name

    try:
        return hub_name(ImageReference.parse(text.removeprefix("docker://")))
    except ValueError as problem:
        raise BaseImageError(what, str(problem), "Name an image like registry/name@sha256:….") from problem


def _configured(context: Context) -> Path | KmsKey:
    name = context.choices.verification_key
    if not name:
        raise SettingsError(
            "nothing was verified",
            "no public key was given",
            "Give one with --key, or set verification_key in environments.toml.",
        )
    from commands.deploying import key_of

    return key_of(context, name)


def _registry(context: Context, reference: ImageReference) -> Registry:
    """The image's registry: with the credentials of the target where it is the target's own, else of docker."""
    local = context.local_aws() if context.target_name == "local" else None
    here = local is not None and urlsplit(local.endpoint).netloc == reference.registry
    if here or is_ecr(reference.registry):
        return context.running_target().registry(reference.registry)
    return connect(reference.registry, report=context.report)


def _rebuild(context: Context, provenance: Mapping[str, Any]) -> Digest:
    """The digest that this project's sources give with the parameters of a build. Raises PipelineError."""
    from cfn.settings import Architecture
    from commands.deploying import build_of
    from pipeline.assembly.dependencies.slim import Slim
    from pipeline.assembly.model import Platform, PythonVersion
    from pipeline.release.images import build_images

    what = "the image was not rebuilt"
    try:
        said = provenance["buildDefinition"]["externalParameters"]
        architecture, python = str(said["platform"]).removeprefix("linux/").split(" python")
        (chosen,) = (each for each in Architecture if each.oci == architecture)
        function = str(said["function"])
        parameters: dict[str, Any] = {"platform": Platform(chosen, PythonVersion.parse(python))}
        if "handler" in said:  # else nothing more is chosen for a build
            slim = Slim(bool(said["slim"]), frozenset(map(str, said["services"])), bool(said["byte_code"]))
            pinned = [
                str(each["uri"])
                for each in provenance["buildDefinition"]["resolvedDependencies"]
                if each.get("name") == "base"
            ]
            parameters |= {"slim": slim, "base": pinned[0] if pinned else str(said["base"])}
    except (LookupError, TypeError, ValueError) as error:
        raise BaseImageError(
            what, f"its provenance is not understood ({error})", "It was built by another tool."
        ) from error
    sources = tuple(source for source in context.sources if source.name == function)
    if not sources:
        raise BaseImageError(what, f"this project has no function {function}", "Run this in the project that has it.")
    (image,) = build_images(replace(build_of(context), sources=sources, **parameters), context.report)
    return image.image.digest


@command(
    "Explain why two images differ.",
    click.Argument(["before"], type=Text()),
    click.Argument(["after"], type=Text(), required=False, default="built"),
)
def why_changed(context: Context, *, before: str, after: str) -> Outcome:
    """Explain why images differ: the base, the config, packages, files.

    BEFORE and AFTER are images (registry/name@sha256:…), releases by number, or `built`: what this project builds now,
    which is the default of AFTER.
    """
    from pipeline.assembly.difference import compare
    from pipeline.oci.archive import BadArchive
    from pipeline.release.image_changes import difference_lines

    store = BlobStore(cache_folder())
    sides = [_side(context, text, store) for text in (before, after)]
    # One image by its reference is compared with the function's of the other side, whatever its repository is called.
    if len(sides[0]) == len(sides[1]) == 1:
        (name,) = sides[1]
        sides = [dict(zip([name], side.values(), strict=True)) for side in sides]
    result: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in sorted(sides[0].keys() | sides[1].keys()):
        pair = [side.get(name) for side in sides]
        if pair[0] is None or pair[1] is None:
            fate = "added" if pair[0] is None else "removed"
            result.append({"function": name, "same": False, "summary": fate})
            lines.append(f"{name}: {fate}")
            continue
        try:
            found = compare(pair[0], pair[1])
        except (BadArchive, OSError) as error:
            raise BaseImageError(
                f"{name} was not compared",
                f"a layer cannot be read: {error}",
                NextStep("Check both images", ("check", before, after)),
            ) from error
        result.append({"function": name, "same": not found, "summary": found.summary(), **asdict(found)})
        lines += difference_lines(name, found)
    return Outcome({"before": before, "after": after, "functions": result}, "\n".join(lines))


def _side(context: Context, text: str, store: BlobStore) -> dict[str, Compared]:
    """The images that an argument names, by function."""
    from pipeline.release.image_changes import read_compared

    if text == "built":
        from commands.deploying import build_of
        from pipeline.assembly.difference import compared_image
        from pipeline.release.images import build_images

        images = build_images(build_of(context), context.report)
        return {each.function: compared_image(each.image, store) for each in images}
    if re.fullmatch("[0-9]{1,9}", text):
        return _release(context, int(text), store)
    reference = _parse(text, "nothing was compared")
    name = reference.repository.rpartition("/")[2].removesuffix(f"-{context.environment}")
    chosen = reference.digest or reference.tag or "latest"
    # Not closed here: layers are fetched when they are compared.
    return {name: read_compared(_registry(context, reference), reference.repository, chosen, store)}


def _release(context: Context, number: int, store: BlobStore) -> dict[str, Compared]:
    from pipeline.ledger.releases import list_releases
    from pipeline.release.image_changes import read_compared
    from pipeline.target import explained

    with explained(context.target_name, f"release {number} of {context.environment} was not read"):
        target = context.running_target()
        found = [each for each in list_releases(target.client("ssm"), context.names.ledger) if each.number == number]
        if not found:
            raise ReleaseError(
                f"release {number} was not compared",
                "the ledger has no such release",
                NextStep("List them", ("releases",)),
            )
        return {
            name: read_compared(target.registry(uri.registry), uri.repository, found[0].images[name], store)
            for name, uri in _repositories(context, target, found[0].images).items()
        }


def _repositories(context: Context, target: Target, functions: Iterable[str]) -> dict[str, ImageReference]:
    """The repository of each function, from the outputs of the registry stack."""
    from cfn.names import repository_output
    from pipeline.stacks.state import read_stack

    outputs = read_stack(target.client("cloudformation"), context.names.registry_stack).outputs
    return {name: ImageReference.parse(outputs[repository_output(name)]) for name in functions}


def prove_release(context: Context, images: Mapping[str, Digest]) -> dict[str, Proven]:
    """What the signatures and the provenance of a release's images prove by the project's ``verification_key``.

    Raises PipelineError, such as for a key or a registry that cannot be read.
    """
    from pipeline.assembly.proof.key_places import verifier_of
    from pipeline.assembly.proof.verification import verify_image
    from pipeline.target import explained

    key, store = verifier_of(_configured(context)), BlobStore(cache_folder())
    with explained(context.target_name, "nothing was verified"):
        target, found = context.running_target(), {}
        for name, uri in _repositories(context, target, images).items():
            with target.registry(uri.registry) as registry:
                found[name] = verify_image(registry, uri.repository, images[name], key, store)
        return found
