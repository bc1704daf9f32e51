import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfn.settings import Architecture, Settings
from pipeline.assembly.model import Platform, PushedImage, PythonVersion
from pipeline.core.errors import SettingsError
from pipeline.oci.values import Digest, ImageReference

HEX = "0123456789abcdef" * 4
DIGEST = Digest(HEX)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:abc", f"sha512:{HEX}", HEX, f"sha256:{HEX.upper()}", f"sha256:{HEX}0", f" sha256:{HEX}"],
)
def test_a_digest_that_is_not_one_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Digest.parse(text)


def test_a_digest_is_of_the_content() -> None:
    assert str(Digest.of(b"")) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", ImageReference("", "app")),
        ("team/app:1.0", ImageReference("", "team/app", "1.0")),
        ("localhost/app", ImageReference("localhost", "app")),
        ("127.0.0.1:5000/app:x", ImageReference("127.0.0.1:5000", "app", "x")),
        (f"registry.example/a/b@sha256:{HEX}", ImageReference("registry.example", "a/b", None, DIGEST)),
        ("[::1]:5000/app", ImageReference("[::1]:5000", "app")),
        (f"registry.example:443/a/b:t@sha256:{HEX}", ImageReference("registry.example:443", "a/b", "t", DIGEST)),
    ],
)
def test_a_reference_is_parsed_into_its_parts_and_written_back(text: str, expected: ImageReference) -> None:
    assert ImageReference.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "archive:/app",
        "http:/app",
        "a:b/app",
        "[::1/app",
        "",
        "App",
        "a//b",
        "app:",
        "app:-x",
        "app@",
        f"app@{HEX}",
        "a b",
        "registry.example/",
        "app:" + "x" * 129,
    ],
)
def test_a_reference_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="saw"):
        ImageReference.parse(text)


# Three of them have fewer than the 255 characters of a repository's name.
words = st.from_regex(r"[a-z0-9]{1,20}([._-][a-z0-9]{1,20}){0,2}", fullmatch=True)


@given(
    st.sampled_from(["", "localhost", "127.0.0.1:5000", "registry.example"]),
    st.lists(words, min_size=1, max_size=3).map("/".join),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    st.none() | st.binary().map(Digest.of),
)
def test_every_reference_reads_back_as_itself(
    registry: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    reference = ImageReference(registry, repository, tag, digest)
    if registry == "" and "/" in repository and ("." in repository.split("/")[0]):
        return  # the first word of such a path is a registry by the reference grammar
    assert ImageReference.parse(str(reference)) == reference


def test_a_pushed_image_is_named_by_its_digest() -> None:
    pushed = PushedImage("fraud-detection", "000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev", DIGEST)
    assert pushed.uri == f"000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@sha256:{HEX}"


@pytest.mark.parametrize("text", ["3", "2.7", "3.13.1", "3.x", ""])
def test_a_python_version_is_a_minor_version(text: str) -> None:
    with pytest.raises(ValueError, match="Python version"):
        PythonVersion.parse(text)


def test_a_platform_reads_like_an_image_platform() -> None:
    assert str(Platform(Architecture.X86_64, PythonVersion(3, 13))) == "linux/amd64 python3.13"


@pytest.mark.parametrize("name", ["", "Dev", "1dev", "dev_1", "dev--1", "dev-", "-dev", "d" * 17, "dév", "dev\n"])
def test_an_environment_that_names_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="environment"):
        Settings(name)
