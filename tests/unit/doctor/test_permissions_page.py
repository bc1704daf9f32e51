"""docs/permissions.md is the table of permissions.

Renew it after a change that is meant:

    .venv/bin/python -m tests.unit.doctor.test_permissions_page
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.doctor.permissions import BY_RESOURCE_TYPE, CALLED, LARGE_TEMPLATES, RECOVERING, On, Permission

PAGE = Path(__file__).resolve().parents[3] / "docs" / "permissions.md"
HEAD = """# Who deploys may call

What each command calls, and on what. `doctor` asks IAM whether the caller may do everything that `up` needs; a test
holds the commands' table against what they send, and CloudFormation's against its resource schemas. Renewed by
`python -m tests.unit.doctor.test_permissions_page`; the source is `pipeline/doctor/permissions.py`.

| on | ARN |
|---|---|
| the two stacks | `stack/transaction-registry-ENV/*`, `stack/transaction-pipeline-ENV/*` |
| the repositories, the functions, the log groups | `NAME-ENV` each; also `transaction-placeholder-ENV` |
| the roles and the managed policy | names that begin with a stack's name |
| the parameter that holds the releases | `parameter/transaction-pipeline/ENV/release` |
"""


def text() -> str:
    parts = [HEAD, "## What the commands call themselves\n", "| command | actions |\n|---|---|"]
    parts += [f"| `{command}` | {actions(permissions)} |" for command, permissions in CALLED.items()]
    parts.append(f"| a command that finds a stack in trouble | {actions(RECOVERING)} |")
    parts.append(f"| a template of more than 51,200 bytes | {actions(LARGE_TEMPLATES)} |")
    parts += [
        "\n## What CloudFormation calls for them with the same permissions\n",
        "For `up`, `infra`, `rollback` and `down`.\n",
    ]
    parts += ["| resource | actions |\n|---|---|"]
    parts += [f"| `{kind}` | {actions(permissions)} |" for kind, permissions in BY_RESOURCE_TYPE.items()]
    return "\n".join(parts) + "\n"


def actions(permissions: Iterable[Permission]) -> str:
    """``on the functions: lambda:GetFunction, …; on *: …``"""
    found: dict[On, list[str]] = {}
    for each in permissions:
        found.setdefault(each.on, []).append(each.action)
    return "; ".join(
        f"{'*' if on is On.ANYTHING else on}: {', '.join(f'`{action}`' for action in sorted(set(names)))}"
        for on, names in sorted(found.items())
    )


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text() == text(), "if it is meant: python -m tests.unit.doctor.test_permissions_page"


if __name__ == "__main__":
    PAGE.write_text(text())
