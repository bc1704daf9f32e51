"""Verify that functions run the pushed images, by the digest of each function's resolved image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import LIVE_ALIAS
from pipeline.assembly.model import PushedImage
from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import FunctionError, NextStep
from pipeline.core.events import Note, Report, step
from pipeline.core.shown import counted
from pipeline.oci.values import Digest, ImageReference
from pipeline.release.deployment import Deployment
from pipeline.release.function_reasons import explain_failure
from pipeline.release.versions import delete_superseded

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class FunctionGone(FunctionError):
    """A function or alias that its stack has, and Lambda does not."""


def verify_functions(
    deployment: Deployment, pushed: Sequence[PushedImage], report: Report, *, settled: bool = False
) -> bool:
    """Verify that every function, and its alias ``live``, runs what was pushed; then delete superseded versions.

    A function that was changed outside of its stack is restored. Returns whether any was. Raises FunctionError.

    settled  the last release has this content and is complete, so this run follows one that verified every function
             and deleted superseded versions: each function then takes two requests, and 50 one more, unless it differs
    """
    client = deployment.target.client("lambda")
    names = {deployment.names.function(image.function) for image in pushed}
    listed = _listed_code(client, names) if settled and names else {}

    def restore(image: PushedImage) -> bool:
        name = deployment.names.function(image.function)
        if listed.get(name) == image.digest.hex and _runs_live(client, name, image):
            return False
        restored = restore_function(client, name, image, alias=LIVE_ALIAS)
        if restored:
            report(Note(f"{name} was changed outside of its stack; it runs {image.digest.short} again"))
        delete_superseded(client, [name], report)
        return restored

    with step(report, "verify") as running, ThreadPoolExecutor(8) as pool:
        restored = sum(pool.map(restore, pushed))
        running.detail = f"{counted(len(pushed), 'function')} at the pushed digests"
    return restored > 0


def _listed_code(lambda_client: Any, names: AbstractSet[str]) -> dict[str, str]:
    """CodeSha256 of functions' unpublished code, by name, from pages of 50; functions may be missing.

    For an image function it is the digest of its image in hexadecimal. The list has no states (API_ListFunctions), so
    it does not show an update that is in progress or failed. Reading ends when asking for the missing functions takes
    fewer requests: an account may have many others.
    """
    found: dict[str, str] = {}
    try:
        for number, page in enumerate(lambda_client.get_paginator("list_functions").paginate(), start=1):
            listed = {each["FunctionName"]: each.get("CodeSha256", "") for each in page["Functions"]}
            found |= {name: listed[name] for name in listed.keys() & names}
            if number >= len(names) - len(found):
                break
    except ClientError as problem:
        # Without the permission to list, each function is asked for.
        if error_code(problem) != "AccessDeniedException":
            raise
    return found


def _runs_live(lambda_client: Any, name: str, pushed: PushedImage) -> bool:
    """Whether all traffic of the alias ``live`` goes to one version, which has the pushed image and can run.

    Both requests are needed: a list of functions has no aliases, GetFunction has no weights, and GetAlias no image.
    """
    try:
        found = lambda_client.get_function(FunctionName=name, Qualifier=LIVE_ALIAS)
        alias = lambda_client.get_alias(FunctionName=name, Name=LIVE_ALIAS)
    except ClientError as problem:
        if error_code(problem) != "ResourceNotFoundException":
            raise
        return False
    configuration = found["Configuration"]
    return (
        configuration.get("State", "Active") in ("Active", "Inactive")
        and configuration.get("LastUpdateStatus", "Successful") == "Successful"
        and _resolved(found) == pushed.digest
        and not _shares(alias)
    )


def verify_function(
    lambda_client: Any, name: str, pushed: PushedImage, *, qualifier: str | None = None, timeout: float = 300.0
) -> None:
    """Wait until the function called ``name`` is updated, and compare its digest with the pushed one.

    CloudFormation finishes when Lambda has accepted the configuration; Lambda finishes later, as LastUpdateStatus
    says, and ``Code.ResolvedImageUri`` then has the running digest (API_GetFunction). This also detects a change by
    hand, which CloudFormation does not. ``qualifier``: a version or an alias. timeout in seconds.

    Raises FunctionError.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        found = _read(lambda_client, name, qualifier)
        configuration = found["Configuration"]
        state, update = configuration.get("State", "Active"), configuration.get("LastUpdateStatus", "Successful")
        if state == "Failed" or update == "Failed":
            raise FunctionError(f"{pushed.function} was not switched", *explain_failure(configuration))
        # A function is Inactive after weeks without invocations; it keeps its image.
        if state != "Pending" and update != "InProgress":
            _compare(found, name, pushed)
            return
        if time.monotonic() > deadline:
            raise FunctionError(
                f"{pushed.function} was not verified",
                f"Lambda is still updating {name} after {timeout:.0f} s (state {state}, update {update})",
                NextStep("Check again later", ("status",)),
            )
        interruption.sleep(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE)


def restore_function(
    lambda_client: Any, name: str, pushed: PushedImage, *, alias: str | None = None, timeout: float = 300.0
) -> bool:
    """Verify that the function and all traffic of its alias run the pushed image, and restore them if not.

    Calls Lambda, because CloudFormation does not see a function that was changed outside of its stack, or an alias that
    an interrupted canary left shared between two versions. Returns whether anything was restored. timeout in seconds,
    for each wait. Raises FunctionError as ``verify_function`` does.
    """
    restored = _restore_code(lambda_client, name, pushed, timeout)
    if alias is None:
        return restored
    try:
        verify_function(lambda_client, name, pushed, qualifier=alias, timeout=timeout)
    except FunctionGone:
        raise
    except FunctionError:
        # Unchanged code returns the existing version (API_PublishVersion).
        version = lambda_client.publish_version(FunctionName=name)["Version"]
        lambda_client.update_alias(
            FunctionName=name, Name=alias, FunctionVersion=version, RoutingConfig={"AdditionalVersionWeights": {}}
        )
        verify_function(lambda_client, name, pushed, qualifier=alias, timeout=timeout)
        return True
    return _end_sharing(lambda_client, name, alias) or restored


def _end_sharing(lambda_client: Any, name: str, alias: str) -> bool:
    """Send all traffic of the alias to its version. Returns whether another version had a share."""
    found = lambda_client.get_alias(FunctionName=name, Name=alias)
    if not _shares(found):
        return False
    lambda_client.update_alias(
        FunctionName=name,
        Name=alias,
        FunctionVersion=found["FunctionVersion"],
        RoutingConfig={"AdditionalVersionWeights": {}},
    )
    return True


def _shares(alias: Any) -> bool:
    return bool(alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"))


def _restore_code(lambda_client: Any, name: str, pushed: PushedImage, timeout: float) -> bool:
    try:
        verify_function(lambda_client, name, pushed, timeout=timeout)
    except FunctionGone:
        raise
    except FunctionError:
        # Also for a function that is Failed because its image was deleted.
        lambda_client.update_function_code(FunctionName=name, ImageUri=pushed.uri)
        verify_function(lambda_client, name, pushed, timeout=timeout)
        return True
    return False


def running_digest(lambda_client: Any, name: str, qualifier: str | None = None) -> Digest | None:
    """The digest that the function runs; None for a function without an image. Raises FunctionError if it is absent."""
    return _resolved(_read(lambda_client, name, qualifier))


def _read(lambda_client: Any, name: str, qualifier: str | None) -> Any:
    try:
        return lambda_client.get_function(FunctionName=name, **({"Qualifier": qualifier} if qualifier else {}))
    except ClientError as problem:
        if error_code(problem) != "ResourceNotFoundException":
            raise
        raise FunctionGone(
            f"{name} was not verified",
            "there is no such function" + (f" or alias {qualifier}" if qualifier else "")
            + ": it was deleted outside of its stack, and CloudFormation does not notice",
            NextStep("Delete the stacks without the data, then deploy again", ("down", "--keep-data"), ("up",)),
        ) from problem  # fmt: skip


def _resolved(found: Any) -> Digest | None:
    code = found.get("Code", {})
    for uri in (code.get("ResolvedImageUri"), code.get("ImageUri")):
        if uri and (digest := ImageReference.parse(uri).digest):
            return digest
    return None


def _compare(found: Any, name: str, pushed: PushedImage) -> None:
    runs = _resolved(found)
    if runs == pushed.digest:
        return
    raise FunctionError(
        f"{pushed.function} does not run the pushed image",
        f"{name} runs {runs or 'no image by digest'} instead of {pushed.digest}: it was changed outside of its stack",
        NextStep("Restore the function", ("up",)),
    )
