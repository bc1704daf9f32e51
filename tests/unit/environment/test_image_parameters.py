from __future__ import annotations

import pytest

from pipeline.assembly.model import PushedImage
from pipeline.environment.parameters import image_parameters
from pipeline.oci.values import Digest


def pushed(function: str, content: bytes) -> PushedImage:
    return PushedImage(function, f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{function}-dev", Digest.of(content))


def test_each_function_fills_its_parameter_by_digest() -> None:
    fraud, compliance = pushed("fraud-detection", b"f"), pushed("compliance-checking", b"c")
    assert image_parameters([fraud, compliance]) == {
        "FraudDetectionImageUri": f"{fraud.repository_uri}@{Digest.of(b'f')}",
        "ComplianceCheckingImageUri": f"{compliance.repository_uri}@{Digest.of(b'c')}",
    }


def test_two_images_of_one_function_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two images"):
        image_parameters([pushed("fraud-detection", b"1"), pushed("fraud-detection", b"2")])
