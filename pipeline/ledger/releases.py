"""The ledger of releases: what was deployed, when, by whom and from which revision.

It is the history of one SSM parameter per environment (docs/decisions/ledger.md): SSM numbers each version, so
concurrent writers get different numbers, and keeps the last hundred at no cost. The images of a release are tagged
``release-<number>-<mark>`` in ECR, which protects them from lifecycle rules.
"""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from botocore.exceptions import ClientError

from pipeline.assembly.model import PushedImage
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.ledger.stored_images import restore_command
from pipeline.oci.values import DOCKER_MANIFEST, OCI_MANIFEST, Digest, ImageReference
from pipeline.stacks.state import canonical_template

# The size of a standard parameter, which is free; an advanced one holds twice that (API_PutParameter).
STANDARD_MAX, VALUE_MAX = 4096, 8192
# Versions of a parameter that AWS keeps (Systems Manager quotas), and so releases in the ledger.
KEPT = 100
_RELEASE_TAG = re.compile(r"release-(\d+)-[0-9a-f]{8}")
_AT_ONCE_MAX = 10
# Images of one BatchDeleteImage (API_BatchDeleteImage).
_DELETE_MAX = 100
# The version whose images are all tagged.
_TAGGED = "tagged"
_PACKED = "zlib:"


@dataclass(frozen=True, slots=True)
class ReleaseContent:
    """The content of a release; equal content is the same release.

    images      function → digest
    template    the digest of the pipeline stack's template (``template_digest``)
    parameters  the pipeline stack's parameters other than images
    """

    images: Mapping[str, Digest]
    template: Digest
    parameters: Mapping[str, str] = field(default_factory=dict)

    def differences(self, other: ReleaseContent) -> tuple[str, ...]:
        """Differences apart from the images: ``template``, which follows from ``function.toml`` and the settings, and
        the names of parameters."""
        names = sorted(self.parameters.keys() | other.parameters.keys())
        differing = [name for name in names if self.parameters.get(name) != other.parameters.get(name)]
        return (*(["template"] if self.template != other.template else []), *differing)


@dataclass(frozen=True, slots=True)
class Release:
    """A recorded release.

    at        with a time zone
    revision  of the source, or ""
    place     the AWS that it was recorded in (``Target.place``), or ""
    origin    of a promoted release: the release that its images were copied from, such as "dev release 3"; else ""
    """

    number: int
    content: ReleaseContent
    at: datetime
    by: str
    revision: str = ""
    mark: str = ""
    place: str = ""
    origin: str = ""

    @property
    def images(self) -> Mapping[str, Digest]:
        return self.content.images

    @property
    def tag(self) -> str:
        """The tag of its images. The mark distinguishes it from tags of an earlier, deleted ledger."""
        return f"release-{self.number}-{self.mark}"


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """A rollback to a release: one stack update with the parameters of ``images``.

    unaffected  functions that the release did not have; they stay unchanged
    """

    to: Release
    images: tuple[PushedImage, ...]
    unaffected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RollbackRefused:
    """The rollback is impossible, with every reason."""

    to: Release
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """The last release, None before the first; ``complete`` if all its images are tagged."""

    release: Release | None
    complete: bool

    def has(self, content: ReleaseContent) -> bool:
        """Whether the last release has this content."""
        return self.release is not None and self.release.content == content


@lru_cache(maxsize=4)
def template_digest(template_body: str) -> Digest:
    """The digest of a template by its meaning: layout and order of keys do not count."""
    return Digest.of(canonical_template(template_body).encode())


def parameter_name(environment: str) -> str:
    """The SSM parameter whose history is the ledger. ``environment`` is what ``Names.ledger`` gives, also below."""
    return f"/transaction-pipeline/{environment}/release"


def record_release(
    ssm: Any, ecr: Any, environment: str, content: ReleaseContent, repositories: Mapping[str, str], *, by: str,
    revision: str = "", place: str = "", origin: str = "",
) -> tuple[Release, bool]:  # fmt: skip
    """Record the deployed content. Returns the release, and whether it is a new one.

    repositories   function → ECR repository name
    place, origin  see Release

    Makes one call if the content is unchanged. Safe to repeat: the next run completes one that was killed between the
    record and the tags. Raises ReleaseError if an image is missing or the record is too large.
    """
    release, tagged = _latest(ssm, environment)
    new = release is None or release.content != content
    if release is None or new:
        at = datetime.now(UTC).replace(microsecond=0)
        value = _pack(content, at=at, by=by, revision=revision, place=place, origin=origin)
        number = _put(ssm, environment, value)
        release = _parse(number, value)
    if new or tagged != release.number:
        for function, digest in sorted(content.images.items()):
            _tag_image(ecr, repositories[function], digest, release)
            _untag_image(ecr, repositories[function], digest, release)
        ssm.label_parameter_version(Name=parameter_name(environment), ParameterVersion=release.number, Labels=[_TAGGED])
    return release, new


def read_latest(ssm: Any, environment: str) -> Latest:
    """The last entry of the ledger; one call."""
    release, tagged = _latest(ssm, environment)
    return Latest(release, release is not None and tagged == release.number)


def list_releases(ssm: Any, environment: str) -> tuple[Release, ...]:
    """The ledger, oldest first; empty before the first release. AWS keeps the last hundred."""
    try:
        pages = list(ssm.get_paginator("get_parameter_history").paginate(Name=parameter_name(environment)))
    except ClientError as problem:
        if error_code(problem) == "ParameterNotFound":
            return ()
        raise
    found = [_parse(each["Version"], each["Value"]) for page in pages for each in page["Parameters"]]
    return tuple(sorted(found, key=lambda release: release.number))


def read_release(ssm: Any, environment: str, number: int) -> Release:
    """One release. Raises ReleaseError if the ledger does not have it."""
    try:
        found = ssm.get_parameter(Name=f"{parameter_name(environment)}:{number}")["Parameter"]
    except ClientError as problem:
        if error_code(problem) not in ("ParameterNotFound", "ParameterVersionNotFound"):
            raise
        raise ReleaseError(
            f"release {number} of {environment} was not found",
            "the ledger has no such number; it keeps the last hundred",
            NextStep("List them", ("releases",)),
        ) from problem
    return _parse(found["Version"], found["Value"])


def delete_ledger(ssm: Any, environment: str) -> bool:
    """Delete the environment's ledger. Returns False if there was none."""
    try:
        ssm.delete_parameter(Name=parameter_name(environment))
    except ClientError as problem:
        if error_code(problem) == "ParameterNotFound":
            return False
        raise
    return True


def plan_rollback(
    to: Release, functions: Collection[str], repositories: Mapping[str, str], stored: Mapping[str, Collection[Digest]],
    place: str = "", archived: Mapping[str, Collection[Digest]] = MappingProxyType({}),
) -> RollbackPlan | RollbackRefused:  # fmt: skip
    """The rollback to ``to``, or every reason why it is impossible. Pure.

    functions     those that the pipeline stack has now
    repositories  function → repository URI, from the registry stack's outputs
    stored        function → the digests that its repository holds
    place         the AWS that is rolled back, as in Release
    archived      function → those of its images that ECR has archived
    """
    reasons = []
    if to.place and place and to.place != place:
        reasons.append(f"it was recorded in {to.place}, and this is {place}")
    for function, digest in sorted(to.images.items()):
        if function not in functions or function not in repositories:
            reasons.append(f"{function} is no longer part of the pipeline")
        elif digest in archived.get(function, ()):
            repository = ImageReference.parse(repositories[function]).repository
            restore = restore_command(repository, digest)
            reasons.append(f"the image of {function}, {digest}, is archived; restore it with {restore}")
        elif digest not in stored.get(function, ()):
            reasons.append(f"the image of {function}, {digest}, is gone from its repository")
    if reasons:
        return RollbackRefused(to, tuple(reasons))
    return RollbackPlan(
        to,
        tuple(PushedImage(function, repositories[function], digest) for function, digest in sorted(to.images.items())),
        unaffected=tuple(sorted(set(functions) - set(to.images))),
    )


def _latest(ssm: Any, environment: str) -> tuple[Release | None, int | None]:
    """The last release, and the number of the last one whose images are all tagged; one call."""
    name = parameter_name(environment)
    found = ssm.get_parameters(Names=[name, f"{name}:{_TAGGED}"])["Parameters"]
    last = [each for each in found if not each.get("Selector")]
    tagged = [each["Version"] for each in found if each.get("Selector")]
    return (_parse(last[0]["Version"], last[0]["Value"]) if last else None), (tagged[0] if tagged else None)


def _put(ssm: Any, environment: str, value: str) -> int:
    """A new version of the parameter; SSM gives the number."""
    for attempt in range(5):
        try:
            answer = ssm.put_parameter(
                Name=parameter_name(environment),
                Value=value,
                Type="String",
                # Intelligent tiering uses a standard parameter until the value is too large.
                Tier="Intelligent-Tiering",
                Overwrite=True,
                Description=f"Releases of {environment}; its history is the ledger",
            )
            return int(answer["Version"])
        except ClientError as problem:
            # A concurrent write, which botocore does not retry.
            if error_code(problem) != "TooManyUpdates" or attempt == 4:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _pack(content: ReleaseContent, *, at: datetime, by: str, revision: str, place: str = "", origin: str = "") -> str:
    """The record as text that SSM accepts: at most VALUE_MAX bytes, without double braces."""
    text = json.dumps(
        {
            "at": at.isoformat(),
            "aws": place,
            "by": by,
            **({"from": origin} if origin else {}),
            "images": [[function, digest.hex] for function, digest in sorted(content.images.items())],
            "parameters": [[name, value] for name, value in sorted(content.parameters.items())],
            "revision": revision,
            "template": content.template.hex,
            "version": 1,
        },
        separators=(",", ":"),
    )
    # Only strings can have double braces here: the document itself nests lists.
    text = text.replace("{{", "\\u007b\\u007b").replace("}}", "\\u007d\\u007d")
    if len(text.encode()) > STANDARD_MAX:
        text = _PACKED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    if len(text.encode()) > VALUE_MAX:
        raise ReleaseError(
            "the release was not recorded",
            f"its record has {len(text):,} bytes, and SSM's limit is {VALUE_MAX:,}",
            "Everything is deployed. Fewer functions per environment make the record fit.",
        )
    return text


def _parse(number: int, value: str) -> Release:
    """Parse a record. Raises ReleaseError for an unknown format."""
    try:
        text = value
        if value.startswith(_PACKED):
            text = zlib.decompress(base64.b64decode(value.removeprefix(_PACKED))).decode()
        record = json.loads(text)
        content = ReleaseContent(
            images={function: Digest(digest) for function, digest in record["images"]},
            template=Digest(record["template"]),
            parameters=dict(record["parameters"]),
        )
        return Release(
            number, content, at=datetime.fromisoformat(record["at"]), by=record["by"], revision=record["revision"],
            mark=Digest.of(value.encode()).hex[:8], place=str(record.get("aws", "")),
            origin=str(record.get("from", "")),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, zlib.error) as problem:
        raise ReleaseError(
            f"release {number} was not read",
            f"its record in SSM has a format that this version cannot read ({problem!r})",
            "Update this tool, or delete the parameter if another program wrote it.",
        ) from problem


def _tag_image(ecr: Any, repository: str, digest: Digest, release: Release) -> None:
    """Tag an image by putting its manifest again under the new tag (AWS documentation)."""
    found = ecr.batch_get_image(
        repositoryName=repository,
        imageIds=[{"imageDigest": str(digest)}],
        acceptedMediaTypes=[OCI_MANIFEST, DOCKER_MANIFEST],
    )["images"]
    if not found:
        raise ReleaseError(
            f"release {release.number} was not recorded completely",
            f"the image {digest} is gone from {repository}",
            NextStep("Push it again", ("up",)),
        )
    try:
        ecr.put_image(
            repositoryName=repository,
            imageManifest=found[0]["imageManifest"],
            imageManifestMediaType=found[0]["imageManifestMediaType"],
            imageTag=release.tag,
            imageDigest=str(digest),
        )
    except ClientError as problem:
        # An earlier run has set the tag, which contains a mark of the record.
        if error_code(problem) == "ImageTagAlreadyExistsException":
            _expect_tag(ecr, repository, digest, release)
        elif error_code(problem) != "ImageAlreadyExistsException":
            raise


def _untag_image(ecr: Any, repository: str, digest: Digest, release: Release) -> None:
    """Remove the tags of releases that the ledger no longer has: ECR allows 1,000 tags per image.

    The image keeps the tag of this release, since ECR deletes an image with its last tag (API_BatchDeleteImage).
    """
    found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": str(digest)}])["imageDetails"]
    tags = sorted({tag for each in found for tag in each.get("imageTags", [])} - {release.tag})
    numbers = {tag: int(match[1]) for tag in tags if (match := _RELEASE_TAG.fullmatch(tag))}
    # A number far above belongs to a deleted ledger; one just above may belong to a concurrent release.
    old = [
        tag for tag, number in numbers.items() if not release.number - KEPT < number <= release.number + _AT_ONCE_MAX
    ]
    for first in range(0, len(old), _DELETE_MAX):
        batch = [{"imageTag": tag} for tag in old[first : first + _DELETE_MAX]]
        ecr.batch_delete_image(repositoryName=repository, imageIds=batch)


def _expect_tag(ecr: Any, repository: str, digest: Digest, release: Release) -> None:
    found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": release.tag}])["imageDetails"]
    if any(each["imageDigest"] == str(digest) for each in found):
        return
    raise ReleaseError(
        f"release {release.number} was not recorded completely",
        f"the tag {release.tag} of {repository} belongs to another image than {digest}",
        NextStep("Remove the tag if it was set by hand, then release again", ("up",)),
    )
