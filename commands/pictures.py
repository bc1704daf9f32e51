"""``make docs``: the pictures of the documentation, made from what is deployed."""

from __future__ import annotations

from pathlib import Path

from cfn.workflow.composition import definition, file_entrance
from pipeline.core.files import write_atomically
from pipeline.transactions.any_drawing import draw_any
from pipeline.transactions.drawing import draw

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def pictures() -> dict[Path, str]:
    """The text of each picture, by its file."""
    return {
        FOLDER / "state-machine.svg": draw(definition()),
        FOLDER / "file-entrance.svg": draw_any(
            file_entrance(concurrency=1), title="The state machine of the entrance for files"
        ),
    }


def main() -> None:
    for path, text in pictures().items():
        write_atomically(path, text.encode())


if __name__ == "__main__":
    main()
