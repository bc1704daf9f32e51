"""Commands that build without deploying: build, synth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.context import Context, Outcome
from commands.declared import (
    BASE,
    BUILDER,
    NO_SBOM,
    command,
    flag,
    folder,
)
from commands.deploying import (
    build_of,
)
from pipeline.core.files import cache_folder
from pipeline.core.shown import counted
from pipeline.oci.blobs import BlobStore

if TYPE_CHECKING:
    from pipeline.assembly.build import Build
    from pipeline.core.events import Report


@command(
    "Build and check the images.",
    BASE, BUILDER, NO_SBOM,
    flag("--update-base", "First pin the base's tag to its current digest."),
    folder("--output", "Write the images as an OCI layout."),
    click.Option(
        ["--list", "listed"],
        is_flag=True,
        help="Instead, list every file that ships, and every one that does not with the rule.",
    ),
)  # fmt: skip
def build(context: Context, *, output: Path | None, sbom: bool, update_base: bool, listed: bool) -> Outcome:
    """Build and check the images of all functions. Pushes nothing."""
    from pipeline.release.artifacts import evidence
    from pipeline.release.images import build_acceptable

    if update_base:
        _move_base(context)
    plan = build_of(context, sbom=sbom)
    if listed:
        return _listed(plan, context.report)
    images = build_acceptable(plan, context.report)
    if output is not None:
        from pipeline.assembly.output import write_layout

        write_layout(images, output, plan.store, artifacts={image.function: evidence(plan, image) for image in images})
    return Outcome(
        {
            "platform": str(context.platform),
            "functions": [
                {
                    "name": each.function,
                    "digest": str(each.image.digest),
                    "config": str(each.image.config_descriptor.digest),
                }
                for each in images
            ],
        },
        "\n".join(f"{each.function:<28} {each.image.digest}" for each in images),
    )


def _listed(plan: Build, report: Report) -> Outcome:
    from pipeline.assembly.layers import SharedPackages
    from pipeline.assembly.listing import list_files, list_whole
    from pipeline.release.images import base_of_build, build_one

    base = base_of_build(plan, report)
    runtime = base is not None and not base.layers
    result: list[dict[str, Any]] = []
    lines: list[str] = []
    for source in plan.sources:
        if not source.handler:
            found = list_whole(build_one(plan, source, None, SharedPackages(), report), plan.store)
        else:
            found = list_files(source, plan.platform, plan.store, slim=plan.slim, runtime=runtime, report=report)
        result.append({"name": source.name, **asdict(found)})
        lines += [f"{source.name}: ships {counted(len(found.shipped), 'file')}"]
        lines += [f"  {each.layer:<13} {each.size:>11,}  {each.path}" for each in found.shipped]
        lines += [f"{source.name}: not shipped"]
        lines += [f"  {each.origin:<13} {each.path}  ({each.rule})" for each in found.left_out]
    return Outcome({"platform": str(plan.platform), "functions": result}, "\n".join(lines))


def _move_base(context: Context) -> None:
    """Pin the base's tag to its current digest, for both architectures."""
    from cfn.settings import Architecture
    from pipeline.assembly.model import Platform
    from pipeline.bases.choose import update_base
    from pipeline.core.events import Note

    platforms = [Platform(architecture, context.platform.python) for architecture in Architecture]
    moved = update_base(platforms, BlobStore(cache_folder()), pins=context.pins)
    for platform, (before, after) in moved.items():
        old = before.digest.short if before is not None and before.digest is not None else "nothing"
        new = after.digest.short if after.digest is not None else "nothing"
        context.report(Note(f"{platform}: {old} → {new}" if old != new else f"{platform}: stays {new}"))


@command("Write both templates.", folder("--out", "Folder for the two files.", required=True))
def synth(context: Context, *, out: Path) -> Outcome:
    """Write both templates, registry.json and pipeline.json, for other tools. Needs no credentials."""
    from cfn.render import TEMPLATE_BODY_MAX
    from pipeline.core.files import storing, write_atomically
    from pipeline.environment.synth import as_file, synthesise

    if context.chosen_region is not None:
        from botocore.session import get_session

        from pipeline.target import require_partition

        require_partition(context.chosen_region, get_session(), "no template was written")
    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    files = {"registry": out / "registry.json", "pipeline": out / "pipeline.json"}
    sizes = {}
    for name, path in files.items():
        content = as_file(getattr(templates, name)).encode()
        with storing(path, "name another folder"):
            write_atomically(path, content)
        sizes[name] = len(content)
    lines = [f"{path}  {sizes[name]:,} bytes" for name, path in files.items()]
    if large := [f"{name}.json" for name, size in sizes.items() if size > TEMPLATE_BODY_MAX]:
        lines += [
            "",
            f"Larger than the {TEMPLATE_BODY_MAX:,} bytes that a request may have: {', '.join(large)}.",
            "Deploy through a bucket: aws cloudformation deploy --s3-bucket NAME. The console and `up` use their own.",
        ]
    return Outcome({name: str(path) for name, path in files.items()} | {"bytes": sizes}, "\n".join(lines))
