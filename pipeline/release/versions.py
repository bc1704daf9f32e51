"""Published versions of a function: the live one and the last one before it are kept, older ones are deleted.

CloudFormation retains a replaced version (``UpdateReplacePolicy`` in ``cfn.functions``), because invocations of it may
still run when the alias moves, and because the alias can move back to it in one call, before the stack is updated. The
deletion of a function deletes all of its versions (API_DeleteFunction).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import LIVE_ALIAS, image_parameter, pascal_case
from pipeline.core.aws_answers import error_code
from pipeline.core.events import Event, Note, Report, ResourceChanged
from pipeline.oci.values import ImageReference
from pipeline.stacks import StackStatus


@dataclass(frozen=True, slots=True)
class Version:
    """A published version.

    subnets      the subnets that it is attached to
    description  the digest of its image and the fingerprint of its configuration (``cfn.functions``)
    """

    number: int
    subnets: frozenset[str] = frozenset()
    description: str = ""


def superseded(versions: Sequence[Version], aliased: Collection[int], live: int) -> tuple[int, ...]:
    """Versions that can be deleted, oldest first. Pure.

    Kept are ``live`` and the last version before it, every version that an alias refers to, and versions newer than
    ``live``: a concurrent release may be about to move the alias to them. The last version is not kept if it is in
    other subnets than ``live``: it would hold network interfaces in a network that is being replaced.

    aliased  versions that any alias refers to, also with a share of its traffic
    """
    subnets = next((each.subnets for each in versions if each.number == live), frozenset())
    older = sorted((each for each in versions if each.number < live), key=lambda each: each.number)
    last = {older[-1].number} if older and older[-1].subnets == subnets else set()
    return tuple(each.number for each in older if each.number not in {*aliased, *last})


def abandoned(versions: Sequence[Version], aliased: Collection[int], live: int) -> tuple[int, ...]:
    """Versions newer than ``live`` that no alias refers to, after an update that was rolled back. Pure.

    Lambda publishes no second version of the same code and configuration (API_PublishVersion), so with one of these the
    next attempt at the same update would fail.
    """
    return tuple(sorted(each.number for each in versions if each.number > live and each.number not in aliased))


Choose = Callable[[Sequence[Version], Collection[int], int], tuple[int, ...]]


def delete_versions(lambda_client: Any, name: str, choose: Choose = superseded) -> tuple[int, ...]:
    """Delete the versions of the function ``name`` that ``choose`` gives, and return their numbers.

    Nothing is deleted where the function or its alias ``live`` is missing, or the alias refers to ``$LATEST``.
    """
    try:
        versions = tuple(_versions(lambda_client, name))
        if len(versions) < 2 or (choose is superseded and len(versions) == 2 and _together(versions)):
            return ()
        aliases = list(_aliases(lambda_client, name))
    except ClientError as problem:
        if error_code(problem) == "ResourceNotFoundException":
            return ()
        raise
    live = next((each["FunctionVersion"] for each in aliases if each["Name"] == LIVE_ALIAS), "")
    if not live.isdigit():
        return ()
    aliased = {int(number) for each in aliases for number in _referred(each) if number.isdigit()}
    return tuple(number for number in choose(versions, aliased, int(live)) if _delete(lambda_client, name, number))


def delete_superseded(lambda_client: Any, names: Iterable[str], report: Report, choose: Choose = superseded) -> None:
    """``delete_versions`` of each function. A failure is reported as a note: every version that is needed is kept."""
    for name in names:
        try:
            deleted = delete_versions(lambda_client, name, choose)
        except (BotoCoreError, ClientError) as problem:
            report(Note(f"old versions of {name} were not deleted ({problem})"))
            return
        if choose is abandoned and deleted:
            report(Note(f"{name}: deleted version {', '.join(map(str, deleted))} of an update that was rolled back"))


def deleting_in_cleanup(lambda_client: Any, names: Collection[str], report: Report) -> Report:
    """A report that also deletes superseded versions as soon as CloudFormation cleans up after an update.

    In that phase it deletes replaced subnets and security groups, which fails while a version is attached to them.
    """

    def watching(event: Event) -> None:
        report(event)
        if (
            isinstance(event, ResourceChanged)
            and event.resource_type == "AWS::CloudFormation::Stack"
            and event.status == StackStatus.UPDATE_COMPLETE_CLEANUP_IN_PROGRESS
        ):
            delete_superseded(lambda_client, names, report)

    return watching


def described(template: str, parameters: Mapping[str, str], functions: Mapping[str, str]) -> dict[str, str]:
    """The description of each function's version in a stack with this template and these parameters. Pure.

    functions  folder name → name in Lambda; the result is by name in Lambda, without functions on their placeholder
    """
    resources = json.loads(template)["Resources"]
    found = {}
    for folder, name in functions.items():
        uri = parameters.get(image_parameter(folder))
        function = resources.get(f"{pascal_case(folder)}Function", {}).get("Properties", {})
        fingerprint = function.get("Environment", {}).get("Variables", {}).get("CONFIGURATION")
        if uri and isinstance(fingerprint, str):
            found[name] = f"{ImageReference.parse(uri).digest} {fingerprint}"
    return found


def move_back(lambda_client: Any, descriptions: Mapping[str, str], report: Report) -> None:
    """Move each alias ``live`` to the kept version with this description, where there is one and it is not live.

    Before a stack update that does the same for good, which takes minutes. A failure is reported as a note.
    """
    for name, description in descriptions.items():
        try:
            kept = [each for each in _versions(lambda_client, name) if each.description == description]
            if not kept:
                continue
            version = str(max(each.number for each in kept))
            alias = lambda_client.get_alias(FunctionName=name, Name=LIVE_ALIAS)
            if _referred(alias) == [version]:
                continue
            lambda_client.update_alias(
                FunctionName=name,
                Name=LIVE_ALIAS,
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": {}},
            )
        except (BotoCoreError, ClientError) as problem:
            report(Note(f"{name} moves back with the update of its stack ({problem})"))
        else:
            report(Note(f"{name} runs its version {version} again; its stack follows"))


def _versions(lambda_client: Any, name: str) -> Iterable[Version]:
    for page in lambda_client.get_paginator("list_versions_by_function").paginate(FunctionName=name):
        for each in page["Versions"]:
            if each["Version"].isdigit():  # not $LATEST
                subnets = frozenset(each.get("VpcConfig", {}).get("SubnetIds", ()))
                yield Version(int(each["Version"]), subnets, each.get("Description", ""))


def _together(versions: Sequence[Version]) -> bool:
    return len({each.subnets for each in versions}) == 1


def _aliases(lambda_client: Any, name: str) -> Iterable[Any]:
    for page in lambda_client.get_paginator("list_aliases").paginate(FunctionName=name):
        yield from page["Aliases"]


def _referred(alias: Any) -> list[str]:
    return [alias["FunctionVersion"], *alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})]


def _delete(lambda_client: Any, name: str, number: int) -> bool:
    """Whether the version was deleted; Lambda refuses while an alias refers to it (API_DeleteFunction)."""
    try:
        lambda_client.delete_function(FunctionName=name, Qualifier=str(number))
    except ClientError as problem:
        if error_code(problem) not in ("ResourceNotFoundException", "ResourceConflictException"):
            raise
        return False
    return True
