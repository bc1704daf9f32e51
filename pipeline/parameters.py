"""Pushed images become the pipeline stack's parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cfn.names import image_parameter
from pipeline.model import PushedImage


def image_parameters(pushed: Iterable[PushedImage]) -> dict[str, str]:
    """The parameter of each function with the image that fills it, always by digest, never by tag.

    CloudFormation does not see new content behind an unchanged ``ImageUri``, and Lambda resolves a tag only once (AWS
    documentation), so a digest is the only value that switches a function when, and only when, its image changed.

    Raises ValueError for two images of one function: that is a mistake of the caller, not of a user.
    """
    parameters: dict[str, str] = {}
    for image in pushed:
        name = image_parameter(image.function)
        if parameters.setdefault(name, image.uri) != image.uri:
            raise ValueError(f"{image.function} has two images: {parameters[name]} and {image.uri}")
    return parameters
