"""Container images that do not exist yet, or whose changes are not deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ._template import (
    CUSTOM_RESOURCE,
    FUNCTIONS,
    Finding,
    Resource,
    TemplateRule,
    View,
    as_dict,
    is_known,
    text,
    tokens,
)

_REPOSITORIES = ("AWS::ECR::Repository",)
_WAITS = (CUSTOM_RESOURCE, "AWS::CloudFormation::WaitCondition")
_TOKEN = re.compile(r"\$\{[^}]*\}")
_SOURCE = "https://docs.aws.amazon.com/lambda/latest/dg/images-create.html"


def image_of(function: Resource) -> str:
    """The resolved image URI of a function; "" if it has none."""
    return text(as_dict(function.get("Code")).get("ImageUri") or function.get("ImageUri"))


def _image_path(function: Resource) -> list[str | int]:
    return function.at("Code", "ImageUri") if function.type == FUNCTIONS[0] else function.at("ImageUri")


def tag_of(view: View, uri: str) -> str | None:
    """The tag of an image URI, "latest" if it has none; None for a digest or an unknown URI."""
    if "@" in uri or not uri:
        return None
    if _TOKEN.fullmatch(uri):
        return "latest" if view.target(uri, *_REPOSITORIES) and uri.endswith(".RepositoryUri}") else None
    # Ignore colons inside a token (${AWS::Region}).
    masked = _TOKEN.sub(lambda match: "\0" * len(match[0]), uri)
    last = masked.rpartition("/")[2]
    if ":" in last:
        return uri[len(masked) - len(last.partition(":")[2]) :]
    whole = "\0" not in last or uri.endswith(".RepositoryUri}")
    return "latest" if whole and "/" in uri else None


class ImageByTag(TemplateRule):
    id = "W9530"
    shortdesc = "A function's image is referenced by tag instead of digest"
    description = (
        "Lambda resolves a tag once, and CloudFormation sees no change while the text stays the same, so a new image "
        "with the tag is not deployed. Use repository@sha256:…"
    )
    source_url = _SOURCE
    tags = ("resources", "lambda", "ecr")
    concerns = (*FUNCTIONS, *_REPOSITORIES)

    def find(self, view: View) -> Iterator[Finding]:
        for function in view.resources(*FUNCTIONS):
            tag = tag_of(view, image_of(function))
            # A tag that is a SHA-256 identifies the content too (asset tags of deployment tools).
            if tag and not re.fullmatch(r"[0-9a-f]{64}", tag):
                named = f"the tag {tag!r}" if is_known(tag) else "a tag"
                yield Finding(_image_path(function), f"The image is referenced by {named}: use a digest (@sha256:…)")


class ImageBeforeRepository(TemplateRule):
    id = "E9531"
    shortdesc = "An image function in the stack that creates its repository"
    description = (
        "The repository is empty when the function is created, so the stack fails: 'Source image … does not "
        "exist'. Create the repository in an earlier stack, or push a placeholder with a custom resource that the "
        "function depends on."
    )
    source_url = _SOURCE
    tags = ("resources", "lambda", "ecr")
    concerns = (*FUNCTIONS, *_REPOSITORIES)

    def find_all(self, seen: list[View]) -> Iterator[tuple[View, Finding]]:
        for view in seen:
            for function in view.resources(*FUNCTIONS):
                repository = _repository(view, image_of(function))
                if not repository or self._comes_later(seen, function, repository):
                    continue
                if not any(_fills(view, here, repository) for here in view.depends(function)):
                    yield (
                        view,
                        Finding(
                            _image_path(function),
                            f"The image is in {repository.id}, which this stack creates empty, and nothing "
                            f"that {function.id} depends on pushes an image to it first",
                        ),
                    )

    @staticmethod
    def _comes_later(seen: list[View], function: Resource, repository: Resource) -> bool:
        """Whether a condition allows creating the repository first and the function in a later update."""
        return any(repository.id in view.all and function.id not in view.all for view in seen)


def _repository(view: View, uri: str) -> Resource | None:
    for repository in view.resources(*_REPOSITORIES):
        name = text(repository.get("RepositoryName"))
        path = re.split(r"[@:]", _TOKEN.sub("", uri).partition("/")[2])[0]
        if repository.id in tokens(uri) or (name and is_known(name) and path == name):
            return repository
    return None


def _fills(view: View, name: str, repository: Resource) -> bool:
    resource = view.all.get(name)
    if resource is None or not (resource.type.startswith("Custom::") or resource.type in _WAITS):
        return False
    known_name = text(repository.get("RepositoryName"))
    return repository.id in view.depends(resource) or bool(known_name and known_name in str(resource.properties))


class PackageTypeChanges(TemplateRule):
    id = "E9532"
    shortdesc = "A function with a fixed name that changes between Zip and Image"
    description = (
        "PackageType is create-only, and a custom-named resource cannot be replaced: the update from a Zip "
        "placeholder to an image fails with 'CloudFormation cannot update a stack when a custom-named resource "
        "requires replacing'. The placeholder must itself be an image."
    )
    source_url = (
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-lambda-function.html"
        "#cfn-lambda-function-packagetype"
    )
    tags = ("resources", "lambda")
    concerns = FUNCTIONS

    def find_all(self, seen: list[View]) -> Iterator[tuple[View, Finding]]:
        kinds: dict[str, set[str]] = {}
        images: list[tuple[View, Resource, str]] = []
        for view in seen:
            for function in view.resources(*FUNCTIONS):
                name, kind = text(function.get("FunctionName")), _package_type(function)
                if name and kind:
                    kinds.setdefault(name, set()).add(kind)
                    images += [(view, function, name)] if kind == "Image" else []
        for view, function, name in images:
            if "Zip" in kinds[name]:
                yield (
                    view,
                    Finding(
                        function.at("PackageType"),
                        f"The function {name!r} is an Image here and a Zip package under other conditions, but "
                        "PackageType cannot change under the same name",
                    ),
                )


def _package_type(function: Resource) -> str | None:
    written: Any = function.get("PackageType")
    if isinstance(written, str):
        return written if is_known(written) else None
    return "Image" if image_of(function) else "Zip"
