"""What a worker is started with, from the image's config and the function's settings."""

from __future__ import annotations

import dataclasses
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.images.image_store import LocalImage
from pipeline.local.invocation import FunctionConfig
from pipeline.local.runtime.command import CannotRun, inside, worker_command
from pipeline.oci.values import Digest, ImageReference

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
DIGEST = Digest.of(b"image")
ENDPOINT = "http://127.0.0.1:4566"


@pytest.fixture
def image(tmp_path: Path) -> LocalImage:
    rootfs = tmp_path / "my image" / "rootfs"
    (rootfs / "var/task").mkdir(parents=True)
    return LocalImage(
        digest=DIGEST,
        rootfs=rootfs,
        architecture=MACHINE,
        entry_point=("python3", "-m", "awslambdaric"),
        command=("handler.handle",),
        working_directory="/var/task",
        environment=(("PATH", "/usr/bin"), ("LAMBDA_TASK_ROOT", "/var/task"), ("PYTHONPATH", "/var/task:/opt/python")),
        labels=(),
    )


def function(**settings: Any) -> FunctionConfig:
    return FunctionConfig(
        name="fraud-detection-dev",
        arn="arn:aws:lambda:eu-west-1:000000000000:function:fraud-detection-dev",
        version="$LATEST",
        image=ImageReference("registry", "fraud-detection-dev", digest=DIGEST),
        memory=512,
        timeout=3,
        region="eu-west-1",
        log_group="fraud-detection-dev",
        **settings,
    )


def environment(image: LocalImage, **settings: Any) -> dict[str, str]:
    return dict(worker_command(function(**settings), image, ENDPOINT).environment)


def test_the_entrypoint_is_the_images_own_on_this_python(image: LocalImage) -> None:
    command = worker_command(function(), image, ENDPOINT)
    assert command.arguments[1:] == ("-S", "-m", "awslambdaric", "handler.handle")
    assert ".venv" not in command.arguments[0]
    assert command.folder == image.rootfs / "var/task"


def test_the_functions_image_config_replaces_the_images(image: LocalImage) -> None:
    (image.rootfs / "srv").mkdir()
    command = worker_command(
        function(entry_point=("/usr/bin/python", "-m", "other"), command=("app.run",), working_directory="/srv"),
        image,
        ENDPOINT,
    )
    assert command.arguments[1:] == ("-S", "-m", "other", "app.run")
    assert command.folder == image.rootfs / "srv"
    assert dict(command.environment)["_HANDLER"] == "app.run"


def test_folders_that_lambda_names_are_mapped_and_absent_ones_dropped(image: LocalImage) -> None:
    variables = environment(image)
    assert variables["PYTHONPATH"] == str(image.rootfs / "var/task")
    assert variables["LAMBDA_TASK_ROOT"] == str(image.rootfs / "var/task")
    assert variables["PATH"] == "/usr/bin"


def test_the_functions_variables_win_over_the_images_and_lambdas_over_both(image: LocalImage) -> None:
    image = dataclasses.replace(image, environment=(*image.environment, ("LEVEL", "image"), ("AWS_REGION", "image")))
    variables = environment(image, environment=(("LEVEL", "function"), ("AWS_REGION", "function")))
    assert variables["LEVEL"] == "function"
    assert variables["AWS_REGION"] == "eu-west-1"


def test_a_function_chooses_its_time_zone_and_its_paths(image: LocalImage) -> None:
    assert environment(image)["TZ"] == ":UTC"
    (image.rootfs / "opt/more").mkdir(parents=True)
    own = (("TZ", "Europe/Berlin"), ("PYTHONPATH", "/opt/more:/not/there"))
    variables = environment(image, environment=own)
    assert (variables["TZ"], variables["PYTHONPATH"]) == ("Europe/Berlin", str(image.rootfs / "opt/more"))


def test_a_function_may_choose_its_own_endpoint(image: LocalImage) -> None:
    assert environment(image)["AWS_ENDPOINT_URL"] == ENDPOINT
    own = "http://127.0.0.1:9"
    assert environment(image, environment=(("AWS_ENDPOINT_URL", own),))["AWS_ENDPOINT_URL"] == own


def test_credentials_are_the_roles(image: LocalImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-user")
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    variables = environment(image, credentials=(("AWS_ACCESS_KEY_ID", "ASIA"),))
    assert variables["AWS_ACCESS_KEY_ID"] == "ASIA"
    assert "SECRET_OF_THE_USER" not in variables


def test_a_worker_never_writes_byte_code(image: LocalImage) -> None:
    assert environment(image)["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize(
    ("change", "error_type", "message"),
    [
        ({"labels": (("transaction-pipeline.placeholder", "true"),)}, "PlaceholderImage", "run `up`"),
        ({"architecture": "s390x"}, "Runtime.InvalidArchitecture", "made for s390x and this machine is"),
        ({"entry_point": (), "command": ()}, "Runtime.InvalidEntrypoint", "no entrypoint"),
        ({"entry_point": ("/bin/sh",)}, "Runtime.InvalidEntrypoint", "'/bin/sh'"),
        ({"entry_point": ("/usr/bin/python3.9",)}, "Runtime.InvalidPython", "made for Python 3.9"),
        ({"working_directory": "/absent"}, "Runtime.InvalidWorkingDir", "absent"),
    ],
)
def test_what_cannot_run_here_is_told(image: LocalImage, change: dict[str, Any], error_type: str, message: str) -> None:
    with pytest.raises(CannotRun, match=message) as caught:
        worker_command(function(), dataclasses.replace(image, **change), ENDPOINT)
    assert caught.value.error_type == error_type


def test_a_placeholder_of_another_architecture_is_still_a_placeholder(image: LocalImage) -> None:
    other = dataclasses.replace(
        image, architecture="s390x", labels=(("transaction-pipeline.placeholder", "true"),), entry_point=()
    )
    with pytest.raises(CannotRun) as caught:
        worker_command(function(), other, ENDPOINT)
    assert caught.value.error_type == "PlaceholderImage"


def test_extensions_for_another_python_are_told(image: LocalImage) -> None:
    other = sys.version_info.minor + 1
    (image.rootfs / f"var/task/runtime_client.cpython-3{other}-x86_64-linux-gnu.so").touch()
    with pytest.raises(CannotRun, match=f"made for Python 3.{other}"):
        worker_command(function(), image, ENDPOINT)


@pytest.mark.parametrize("path", ["/var/task", "var/task", "/../../var/task", "//var//task/."])
def test_a_path_of_the_image_stays_in_the_image(path: str) -> None:
    assert inside(Path("/root fs"), path) == Path("/root fs/var/task")
