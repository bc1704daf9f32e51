"""``make docs``: the pictures of the documentation, made from what is deployed."""

from __future__ import annotations

from pathlib import Path

from cfn.workflow.composition import definition
from pipeline.core.files import write_atomically
from pipeline.transactions.drawing import draw

STATE_MACHINE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "state-machine.svg"


def main() -> None:
    write_atomically(STATE_MACHINE, draw(definition()).encode())


if __name__ == "__main__":
    main()
