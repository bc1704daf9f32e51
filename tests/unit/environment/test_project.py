"""Which folder is the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.environment.project import find_project


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("sign", ["environments.toml", "images/hello/function.toml", "images/hello/Dockerfile"])
@pytest.mark.parametrize("below", [".", "images/hello", "a/b/c"])
def test_a_project_is_found_from_every_folder_in_it(tmp_path: Path, sign: str, below: str) -> None:
    write(tmp_path / "project" / sign)
    start = tmp_path / "project" / below
    start.mkdir(parents=True, exist_ok=True)
    assert find_project(start) == tmp_path / "project"


def test_the_nearest_project_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "environments.toml")
    inner = write(tmp_path / "inner" / "environments.toml").parent
    assert find_project(inner) == inner


def test_images_that_are_pictures_make_no_project(tmp_path: Path) -> None:
    write(tmp_path / "environments.toml")
    write(tmp_path / "images" / "thumbnails" / "images" / "logo.png")
    assert find_project(tmp_path / "images" / "thumbnails") == tmp_path


def test_a_folder_with_a_space_and_a_link_to_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "my project" / "environments.toml").parent
    (tmp_path / "link").symlink_to(folder)
    assert find_project(tmp_path / "link") == folder


def test_without_a_project_the_error_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"neither .* has environments\.toml or functions in images/") as caught:
        find_project(tmp_path)
    assert "--project" in str(caught.value.next_step)


def test_a_folder_that_was_deleted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        find_project(tmp_path / "gone")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_a_project_above_of_another_user_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write(tmp_path / "environments.toml")
    os.chown(tmp_path, 1234, -1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        find_project(tmp_path / "mine")
    os.chown(tmp_path / "mine", 1234, -1)
    assert find_project(tmp_path / "mine") == tmp_path
