"""Container images that are not there yet, or that will not be noticed when they change."""

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
    """The image URI of a function, resolved; empty for a function that has none."""
    return text(as_dict(function.get("Code")).get("ImageUri") or function.get("ImageUri"))


def _image_path(function: Resource) -> list[str | int]:
    return function.at("Code", "ImageUri") if function.type == FUNCTIONS[0] else function.at("ImageUri")


def tag_of(view: View, uri: str) -> str | None:
    """The tag that an image URI carries, "latest" when it has none; None for a digest and for what is not known."""
    if "@" in uri or not uri:
        return None
    if _TOKEN.fullmatch(uri):
        return "latest" if view.target(uri, *_REPOSITORIES) and uri.endswith(".RepositoryUri}") else None
    # Colons inside a token (${AWS::Region}) separate nothing.
    masked = _TOKEN.sub(lambda match: "\0" * len(match[0]), uri)
    last = masked.rpartition("/")[2]
    if ":" in last:
        return uri[len(masked) - len(last.partition(":")[2]) :]
    whole = "\0" not in last or uri.endswith(".RepositoryUri}")
    return "latest" if whole and "/" in uri else None


class ImageByTag(TemplateRule):
    id = "W9530"
    shortdesc = "A function's image is named by a tag instead of a digest"
    description = (
        "Lambda resolves a tag once, and CloudFormation sees no change while the text stays the same: a new image "
        "behind the tag is not deployed. Name the image as repository@sha256:…"
    )
    source_url = _SOURCE
    tags = ("resources", "lambda", "ecr")
    concerns = (*FUNCTIONS, *_REPOSITORIES)

    def find(self, view: View) -> Iterator[Finding]:
        for function in view.resources(*FUNCTIONS):
            tag = tag_of(view, image_of(function))
            # A tag that is a SHA-256 is a digest by another name (asset tags of deployment tools).
            if tag and not re.fullmatch(r"[0-9a-f]{64}", tag):
                told = f"the tag {tag!r}" if is_known(tag) else "a tag"
                yield Finding(_image_path(function), f"The image is named by {told}: name it by digest (@sha256:…)")


class ImageBeforeRepository(TemplateRule):
    id = "E9531"
    shortdesc = "An image function in the stack that creates its repository"
    description = (
        "The repository is empty when the function is created, so the stack fails: 'Source image … does not "
        "exist'. Create the repository in an earlier stack, or push a placeholder into it with a custom resource that "
        "the function depends on."
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
                            f"The image is in {repository.id}, which this stack creates empty: nothing "
                            f"that {function.id} depends on pushes an image into it first",
                        ),
                    )

    @staticmethod
    def _comes_later(seen: list[View], function: Resource, repository: Resource) -> bool:
        """A condition lets the repository be created first and the function by a later update."""
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
    shortdesc = "A function with a fixed name that is Zip in one case and Image in another"
    description = (
        "PackageType is create-only, and a resource with a name of its own cannot be replaced: the update from a Zip "
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
                        f"The function named {name!r} is an image here and a Zip package under other conditions: "
                        "it cannot change from one to the other under the same name",
                    ),
                )


def _package_type(function: Resource) -> str | None:
    written: Any = function.get("PackageType")
    if isinstance(written, str):
        return written if is_known(written) else None
    return "Image" if image_of(function) else "Zip"
