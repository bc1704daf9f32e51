"""``resources.yaml`` is read within bounds, and never taken for missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.environment.resources_file import RESOURCES_FILE, read_resources
from tests.unit.core.test_yaml_documents import bomb


def test_a_link_to_a_missing_file_is_not_a_missing_file(tmp_path: Path) -> None:
    assert not read_resources(tmp_path)
    (tmp_path / RESOURCES_FILE).symlink_to(tmp_path / "gone")
    with pytest.raises(SettingsError, match="link to a missing file"):
        read_resources(tmp_path)


def test_nested_aliases_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / RESOURCES_FILE).write_text(bomb(30))
    with pytest.raises(SettingsError, match="more than 1,000,000 values"):
        read_resources(tmp_path)
