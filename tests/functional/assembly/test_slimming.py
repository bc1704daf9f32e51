"""The proof of slimming, on a few packages that are hard to slim; ``python -m benchmarks.slimming`` has all."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.slimming import compare, prove


@pytest.mark.at_length
@pytest.mark.parametrize("package", ["simplejson", "pydantic", "lazy-loader"])
def test_nothing_that_can_be_reached_is_left_out(package: str, tmp_path: Path) -> None:
    proof = prove(package, tmp_path)
    assert proof.lost == ()
    assert proof.modules > 0


def test_the_proof_notices_what_is_missing(tmp_path: Path) -> None:
    for name in ("full", "slim"):
        info = tmp_path / name / "tool-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
        (info / "RECORD").write_text("tool.py,,\ndata.txt,,\n")
        (info / "entry_points.txt").write_text("[x]\ny = tool:run\n")
    (tmp_path / "full" / "tool.py").write_text("def run(): ...\n")
    (tmp_path / "full" / "data.txt").touch()
    assert compare("tool", tmp_path / "full", tmp_path / "slim").lost == (
        "module tool",
        "entry point x y",
        "file data.txt",
        "RECORD names tool.py",
        "RECORD names data.txt",
    )
