"""Build, check and push the images of a release, with the artifacts that refer to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cfn.names import repository_output
from pipeline.assembly.build import Build, build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.dockerfile import unused_instructions
from pipeline.assembly.layers import SharedPackages
from pipeline.assembly.model import Base, CheckedImage, FunctionSource, Image, PushedImage
from pipeline.assembly.sources import DOCKERFILE
from pipeline.bases.choose import choose_base
from pipeline.bases.prebuilt_images import fetch_prebuilt, require_digests
from pipeline.core.events import Note, Report, ignore, step
from pipeline.oci.registry.client import connect
from pipeline.oci.values import Artifact, ImageReference
from pipeline.release.artifacts import proofs, require_proof
from pipeline.release.deployment import Deployment
from pipeline.release.push import Push, push_images
from pipeline.release.restore import image_tag
from pipeline.stacks import StackOutputs


def make_images(deployment: Deployment, report: Report) -> tuple[CheckedImage, ...]:
    """The checked image of each function, built or from the deployment's supply."""
    if deployment.supply is not None:
        return deployment.supply.images(deployment, report)
    return build_images(deployment.build, report)


def build_images(build: Build, report: Report) -> tuple[CheckedImage, ...]:
    """Build or copy, and check, every function's image; functions with the same dependencies share a layer."""
    require_digests(build.sources)
    base, shared = base_of_build(build, report), SharedPackages()
    images = []
    for source in build.sources:
        with step(report, "build", source.name) as running:
            images.append(build_one(build, source, base, shared, report))
            running.detail = f"sha256:{images[-1].image.digest.short}"
    return tuple(images)


def acceptable_images(deployment: Deployment, report: Report) -> tuple[CheckedImage, ...]:
    """``make_images`` for a release. Raises DependencyError for known vulnerabilities that the settings refuse."""
    if deployment.supply is None:
        return build_acceptable(deployment.build, report)
    if deployment.build.gate is not None:
        report(Note("no package was looked up for vulnerabilities: the images were built for another environment"))
    return make_images(deployment, report)


def build_acceptable(build: Build, report: Report) -> tuple[CheckedImage, ...]:
    """``build_images``. Raises DependencyError for known vulnerabilities that the settings refuse."""
    images = build_images(build, report)
    if build.gate is not None:
        from pipeline.assembly.vulnerabilities.vulnerability_gate import require_acceptable

        require_acceptable(build.gate, images, build.sources, build.store, report)
    return images


def base_of_build(build: Build, report: Report = ignore) -> Base | None:
    """The base of the images; None if each is prebuilt, or is built with its Dockerfile."""
    if not any(source.handler for source in build.sources):
        return None
    return choose_base(build.base, build.platform, build.store, pins=build.pins, report=report)


def build_one(
    build: Build, source: FunctionSource, base: Base | None, shared: SharedPackages, report: Report = ignore
) -> CheckedImage:
    """Build or copy, and check, one function's image. base: see ``base_of_build``; shared: of one run."""
    return check_and_keep(build, source, _image_of(build, source, base, shared, report), report)


def check_and_keep(build: Build, source: FunctionSource, image: Image, report: Report) -> CheckedImage:
    """Check a function's image, and keep its manifest and config in the cache. Raises CheckFailed."""
    checked = check_image(image, source, build.store, allowed=build.allowed_credentials, report=report)
    # Kept so that an image that is deleted from its repository can be pushed again by its digest.
    build.store.add(image.manifest)
    build.store.add(image.config)
    return checked


def _image_of(build: Build, source: FunctionSource, base: Base | None, shared: SharedPackages, report: Report) -> Image:
    if source.prebuilt is not None:
        return fetch_prebuilt(source.name, source.prebuilt, build.platform, build.store, report=report)
    if source.by_dockerfile:
        from pipeline.engine.own_dockerfile import build_own

        return build_own(source, build.platform, build.store, report=report)
    assert base is not None  # noqa: S101  (see base_of_build)
    if build.builder == "docker":
        from pipeline.engine.builder import DockerBuilder

        return DockerBuilder(build.platform, build.store, build.slim, report).build(source, base)
    if left_out := unused_instructions(source.folder / DOCKERFILE):
        report(Note(f"{source.name}: its Dockerfile is not used; without effect: {left_out} (docs/images.md)"))
    return build_image(source, build.platform, base, build.store, slim=build.slim, shared=shared, report=report)


def repository_uris(registry: StackOutputs, images: Sequence[CheckedImage]) -> dict[str, str]:
    """The repositories of stack 1 by function."""
    return {image.function: registry[repository_output(image.function)] for image in images}


def push_all(
    deployment: Deployment,
    repositories: Mapping[str, str],
    images: Sequence[CheckedImage],
    report: Report,
    *,
    refer: Callable[[CheckedImage, str], tuple[Artifact, ...]] | None = None,
) -> tuple[PushedImage, ...]:
    """Push each image to its function's repository, read it back by digest, and tag it.

    repositories  URIs by function
    refer         returns the artifacts to push after an image; by default those that the settings require
    """
    with step(report, "push") as running:
        pushes = [
            Push(
                repositories[image.function],
                image,
                tag=image_tag(image.image.digest),
                artifacts=partial(refer or partial(proofs, deployment.build), image, repositories[image.function]),
            )
            for image in images
        ]
        store, supply = deployment.build.store, deployment.supply
        connected = partial(connect, report=report) if supply is None else supply.registry
        hosts = {ImageReference.parse(push.repository_uri).registry for push in pushes}
        # One account and region has one registry; a project without functions has none.
        pushed = tuple(
            image
            for host in hosts
            for image in push_images(
                deployment.target.registry(host), pushes, store, open_registry=connected, report=report
            )
        )
        uploaded = sum(image.uploaded for image in pushed)
        running.detail = f"{uploaded:,} bytes sent" if uploaded else "unchanged"
    require_proof(deployment, [image.uri for image in pushed], report)
    return pushed
