"""Shared by the releasing commands: build and deployment from the options, locks, the end of an unused embedded AWS."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from commands.context import Context
from pipeline.core.errors import NextStep, PipelineError, SettingsError
from pipeline.core.files import cache_folder, storing
from pipeline.oci.blobs import BlobStore
from pipeline.oci.work import sweep_store

if TYPE_CHECKING:
    from pipeline.assembly.build import Build, Proof
    from pipeline.assembly.dependencies.slim import Slim
    from pipeline.assembly.proof.kms import KmsKey
    from pipeline.assembly.vulnerabilities.vulnerability_gate import Gate
    from pipeline.rehearsal.gate import RequiredRehearsal
    from pipeline.release.deployment import Approve, Deployment
    from pipeline.target import Target


def build_of(context: Context, *, sbom: bool = True) -> Build:
    """The build of the context's functions."""
    from pipeline.assembly.build import Build
    from pipeline.assembly.revision import SourceRevisions, clean_commit

    store = BlobStore(cache_folder())
    with storing(store.root):  # first, so that an unwritable cache starts nothing
        store.root.mkdir(parents=True, exist_ok=True)
    sweep_store(store)
    revisions = SourceRevisions(context.sources, store.root / "revisions")
    return Build(
        context.sources,
        context.platform,
        base_of(context),
        store,
        slim_of(context),
        sbom=sbom,
        proof=proof_of(context),
        gate=gate_of(context),
        allowed_credentials=context.choices.allowed_credentials or (),
        builder=context.builder,
        revisions=revisions,
        commit=partial(clean_commit, context.root, context.sources, revisions),
        pins=context.pins,
    )


def proof_of(context: Context) -> Proof:
    """How images are signed and verified. Raises SettingsError for a requirement without a key."""
    from pipeline.assembly.build import Proof

    choices = context.choices
    keys = [key_of(context, name) if name else None for name in (choices.signing_key, choices.verification_key)]
    if choices.require_signature and keys[1] is None:
        raise SettingsError(
            "nothing was built",
            "require_signature = true needs a verification_key, the public key that signatures must hold under",
            'Name its file in environments.toml: verification_key = "signing.pub".',
        )
    return Proof(keys[0], keys[1], bool(choices.require_signature))


def key_of(context: Context, name: str) -> Path | KmsKey:
    """A key of the settings: a file of the project, or a key of KMS. Raises SettingsError."""
    if not name.startswith("awskms:"):
        return context.root / name
    from pipeline.assembly.proof.kms import parse_kms_key

    place = f"{context.environment} on {context.target_name}"
    return parse_kms_key(name, place, context.chosen_region, lambda: context.running_target().client("kms"))


def gate_of(context: Context) -> Gate | None:
    """The known vulnerabilities that are looked for. Raises SettingsError, also for a severity without data."""
    choices = context.choices
    if not choices.vulnerabilities and not choices.refuse_vulnerabilities:
        return None
    from pipeline.assembly.vulnerabilities.osv import Severity
    from pipeline.assembly.vulnerabilities.vulnerability_gate import IGNORED, Gate, read_ignored

    if not choices.vulnerabilities:
        raise SettingsError(
            "nothing was built",
            "refuse_vulnerabilities needs vulnerabilities, the data that packages are looked up in",
            'Name OSV\'s data in environments.toml: vulnerabilities = "https://…/PyPI/all.zip", or a file or folder.',
        )
    known = {str(each): each for each in Severity}
    refuse = choices.refuse_vulnerabilities
    if refuse is not None and refuse not in known:
        raise SettingsError(
            "nothing was built",
            f"refuse_vulnerabilities = {refuse[:40]!a} is no severity",
            f"Write one of {', '.join(known)}.",
        )
    place = choices.vulnerabilities
    data = place if "://" in place else str(context.root / place)
    return Gate(data, known[refuse] if refuse is not None else None, read_ignored(context.root / IGNORED))


def judge_project(context: Context) -> None:
    """Make and lint the templates, so that a mistake in the project starts nothing and sends nothing.

    Raises SettingsError with the errors; warnings are reported.
    """
    from pipeline.core.events import Note
    from pipeline.environment.linting import has_linter, lint_project, require_clean
    from pipeline.environment.synth import synthesise

    settings, store = context.settings, cache_folder()
    templates = synthesise(settings, [source.definition for source in context.sources], store)
    if not (settings.resources or settings.own_workflow):
        return
    if not has_linter():
        extra = "pip install 'transaction-pipeline[rules]'"
        context.report(Note(f"the project's own resources are not linted without cfn-lint: {extra}"))
        return
    findings = lint_project(settings, templates.pipeline, context.chosen_region or "us-east-1", store)
    require_clean(findings)
    for finding in findings:
        context.report(Note(str(finding)))


def deployment_of(
    context: Context, target: Target, build: Build, approve: Approve | None = None, *, rehearse: bool = False
) -> Deployment:
    """The deployment of the context's environment.

    approve   called before data would be lost
    rehearse  whether a release has to pass the rehearsal that the settings require
    """
    from pipeline.release.deployment import Deployment, approve_all

    required = required_rehearsal(context) if rehearse else None
    return Deployment(target, context.settings, build, approve or approve_all, rehearsal=required)


def require_recorded(context: Context, path: Path) -> None:
    """Raise ReleaseError for a file that nothing can be rehearsed on, before anything is made."""
    from pipeline.rehearsal.recordings import read_recordings
    from pipeline.rehearsal.responses import read_responses

    if context.described.workflow is not None:
        next(read_recordings(path))
    else:
        next(read_responses(path, {source.name for source in context.sources}))


def required_rehearsal(context: Context) -> RequiredRehearsal | None:
    """The rehearsal that the environment's settings require of a release. Raises SettingsError."""
    from pipeline.rehearsal.gate import Gate, Recorded, RequiredRehearsal, require_kind

    chosen = context.choices.rehearsal
    if chosen is None:
        return None
    try:
        forbidden = tuple(map(require_kind, chosen.forbidden))
    except ValueError as problem:
        raise SettingsError(
            f"the rehearsal of {context.environment} cannot be used", str(problem), "Correct forbidden in its settings."
        ) from problem
    recorded = Recorded(context.root / chosen.file, chosen.limit)
    require_recorded(context, recorded.path)
    return RequiredRehearsal(Gate(chosen.max_changed, forbidden), recorded)


def events_of_aws(context: Context) -> dict[str, tuple[str, ...]]:
    """The functions with events that the embedded AWS does not deliver, on the local target; {} elsewhere."""
    from pipeline.operations.sample_events import aws_only

    if context.target_name != "local":
        return {}
    return {source.name: kinds for source in context.sources if (kinds := aws_only(source.definition))}


@contextmanager
def exclusive(context: Context, command: str) -> Iterator[None]:
    """Hold the environment's lock on this machine for the block; other commands wait for it."""
    from pipeline.core.locks import exclusively

    with exclusively(lock_of(context), f"{command} {context.environment}", context.report):
        yield


@contextmanager
def alone(context: Context, target: Target, command: str) -> Iterator[str]:
    """Hold the environment's lock in its account for the block, against runs on other machines; yields the author."""
    from pipeline.ledger.environment_lock import locked

    by = releaser(context, target)
    with locked(target.client("ssm"), context.names.ledger, f"{command} by {by}", context.report):
        yield by


@contextmanager
def ended_if_unused(context: Context) -> Iterator[None]:
    """After an error in the block, stop the embedded AWS if the block started it and deployed nothing on it."""
    if context.target_name != "local" or context.runs_elsewhere or context.local_runs:
        yield
        return
    try:
        yield
    except BaseException:
        if context.local_runs and not deployed_stacks(context):
            from pipeline.local.host.control import stop_local

            stop_local(context.local_folder)
        raise


def deployed_stacks(context: Context) -> list[str]:
    """The stacks of the running embedded AWS; [] if it does not answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return local_stacks(context)
    except (BotoCoreError, ClientError, PipelineError):
        return []


def local_stacks(context: Context) -> list[str]:
    """The stacks of the embedded AWS in every account and region, by name and region."""
    return [stack for target in context.local_targets() for stack in stacks_of_all_regions(target)]


def stacks_of_all_regions(target: Target) -> list[str]:
    """The stacks of an account in every region, by name and region."""

    def stacks(region: str) -> list[str]:
        cloudformation = target.in_region(region).client("cloudformation")
        pages = cloudformation.get_paginator("describe_stacks").paginate()
        return [f"{stack['StackName']} in {region}" for page in pages for stack in page["Stacks"]]

    with ThreadPoolExecutor(8) as pool:
        return [stack for found in pool.map(stacks, target.regions()) for stack in found]


def lock_of(context: Context) -> Path:
    """The file that is locked for the environment on this machine."""
    if context.target_name == "local":
        return context.local_folder / "locks" / context.environment
    # Hashed, because a profile's name can be any text.
    profile = context.choices.profile or os.environ.get("AWS_PROFILE", "default")
    place = " ".join([profile, context.chosen_region or "default", *filter(None, [context.choices.role])])
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return cache_folder() / "locks" / f"{context.environment}-{digest}"


def base_of(context: Context) -> str:
    """The base image; "empty" for the process runtime, which uses this machine's interpreter.

    Raises SettingsError for containers on an empty base.
    """
    if context.base is None and context.target_name == "local" and context.runtime == "process":
        return "empty"
    chosen = context.base if context.base is not None else context.choices.base or ""
    if chosen == "empty" and context.target_name == "local" and context.runtime == "docker":
        raise SettingsError(
            "the functions cannot run in containers",
            "the empty base has no operating system and no Python",
            NextStep("Choose another with --base; or omit --runtime docker, after", ("down",)),
        )
    return chosen


def slim_of(context: Context) -> Slim:
    from pipeline.assembly.dependencies.slim import Slim

    choices = context.choices
    return Slim.for_sources(context.sources, enabled=choices.slim is not False, byte_code=bool(choices.byte_code))


def releaser(context: Context, target: Target) -> str:
    """The author of a release, for the ledger: on AWS the caller's ARN, locally user@host."""
    if context.target_name == "aws":
        return str(target.client("sts").get_caller_identity()["Arn"])
    return f"{getpass.getuser()}@{socket.gethostname()}"
