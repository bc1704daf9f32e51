"""docs/permissions.md shows the table of permissions.

Regenerate it after a change on purpose:

    .venv/bin/python -m tests.unit.doctor.test_permissions_page
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.doctor.permissions import CALLED, LARGE_TEMPLATES, RECOVERING, On, Permission
from pipeline.doctor.policy import HANDLERS_OF_COMMAND, handler_actions, permissions_of_type

PAGE = Path(__file__).resolve().parents[3] / "docs" / "permissions.md"
HEAD = """# IAM permissions for deploying

`./bootstrap.py doctor --policy up` prints the least IAM policy for `up` with your names, `--policy` alone one for each
command. `doctor --target aws` asks IAM whether the caller is allowed everything that `up` needs.

| resource | ARN in the policy |
|---|---|
| the two stacks | `stack/transaction-registry-ENV/*`, `stack/transaction-pipeline-ENV/*` |
| repositories, functions, log groups | `NAME-ENV` for each folder under `images/`, and `transaction-placeholder-ENV` |
| roles and the managed policy | names that begin with the name of a stack |
| the parameter of the releases | `parameter/transaction-pipeline/ENV/release` |

An identity-based policy attached to a role holds 6,144 characters, an inline policy of a role 10,240; the policy for
`up` needs the latter. This page is generated from `pipeline/doctor/permissions.py` and `pipeline/doctor/handlers.toml`:
`python -m tests.unit.doctor.test_permissions_page`. Tests compare both with recorded requests and with CloudFormation's
resource schemas.
"""


def text() -> str:
    parts = [HEAD, "## Calls of each command\n", "| command | actions |\n|---|---|"]
    parts += [f"| `{command}` | {actions(permissions)} |" for command, permissions in CALLED.items()]
    parts.append(f"| also, if a stack needs recovery | {actions(RECOVERING)} |")
    parts.append(f"| also, for a template above 51,200 bytes | {actions(LARGE_TEMPLATES)} |")
    parts += [
        "\n## Calls of CloudFormation with the same permissions\n",
        "For `up`, `infra` and `rollback`. `down` needs only the actions that read and delete.\n",
    ]
    parts += ["| resource | actions |\n|---|---|"]
    for kind in (*handler_actions(), "Custom::PlaceholderImage"):
        parts.append(f"| `{kind}` | {actions(permissions_of_type(kind, HANDLERS_OF_COMMAND['up']))} |")
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
    assert PAGE.read_text() == text(), "after a change on purpose: python -m tests.unit.doctor.test_permissions_page"


if __name__ == "__main__":
    PAGE.write_text(text())
