"""Which instructions of a Dockerfile have no effect without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assembly.dockerfile import unused_instructions

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ('# RUN make\nFROM x\nCOPY . /var/task/\nCMD ["handler.handle"]\n', ""),
        ("FROM x\nRUN pip install --no-cache-dir -r requirements.txt\n", ""),
        ("FROM x\nrun python3 -m pip install \\\n  # a comment between\n  -r requirements.txt\n", ""),
        ("FROM x\nWORKDIR ${LAMBDA_TASK_ROOT}\n", ""),
        ("FROM x\nRUN pip install x && make\n", "RUN pip install x && make"),
        ("FROM x\nrun apt-get update \\\n    && apt-get install jq\n", "RUN apt-get update && apt-get install jq"),
        ("FROM x\nENV MODE=fast\nWORKDIR /srv\n", "ENV MODE=fast, WORKDIR /srv"),
        ("FROM x AS one\nFROM y\nCOPY --from=one /a /b\n", "COPY --from=one /a /b"),
        ('FROM x\nADD a.tar /\nENTRYPOINT ["/x"]\nONBUILD RUN a\nRUN b\n', "ADD a.tar /"),
    ],
)
def test_what_only_an_engine_does_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    found = unused_instructions(path)
    assert found.startswith(said) if said else found == ""


def test_no_dockerfile_has_no_effect(tmp_path: Path) -> None:
    assert unused_instructions(tmp_path / "Dockerfile") == ""


@pytest.mark.parametrize("path", sorted((ROOT / "images").glob("*/Dockerfile")), ids=lambda path: path.parent.name)
def test_those_of_this_project_only_copy(path: Path) -> None:
    assert unused_instructions(path) == ""
