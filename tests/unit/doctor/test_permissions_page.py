"""docs/permissions.md shows the table of permissions.

Regenerate it after a change on purpose:

    .venv/bin/python -m tests.unit.doctor.test_permissions_page
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.doctor.permissions import (
    CALLED,
    FILES_ENTRANCE,
    LARGE_TEMPLATES,
    PROMOTED_FROM,
    QUEUE_ENTRANCE,
    RECOVERING,
    On,
    Permission,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "permissions.md"
HEAD = """# IAM permissions for deploying

```
./bootstrap.py doctor --target aws         # asks IAM whether the caller may do everything that up needs
./bootstrap.py doctor --policy up          # the least IAM policy for a command; without a name for each command
./bootstrap.py doctor --policy up --out policies
aws iam create-policy --policy-name up-1 --policy-document file://policies/up-1.json
```

`--out` writes a policy in parts of at most 6,144 characters, so that each is a managed policy; a role takes ten. An
inline policy has at most 10,240 characters, which those for `up` and `promote` can exceed. Those for commands that
change stacks include the actions that CloudFormation calls as the caller (`pipeline/doctor/handlers.toml`, from
CloudFormation's resource schemas).

| resource | ARN in the policy |
|---|---|
| the two stacks | `stack/transaction-registry-ENV/*`, `stack/transaction-pipeline-ENV/*` |
| repositories, functions, log groups | `NAME-ENV` for each folder under `images/`, and `transaction-placeholder-ENV` |
| roles and the managed policy | names that begin with the name of a stack |
| the parameters of the releases and of the lock | `parameter/transaction-pipeline/ENV/release`, `…/lock` |

Generated from `pipeline/doctor/permissions.py` (`python -m tests.unit.doctor.test_permissions_page`); tests compare
this page and the policies with recorded requests.
"""


def text() -> str:
    parts = [HEAD, "## Calls of each command\n", "| command | actions |\n|---|---|"]
    parts += [f"| `{command}` | {actions(permissions)} |" for command, permissions in CALLED.items()]
    parts.append(f"| `promote`, of FROM (`--policy promote-from`) | {actions(PROMOTED_FROM)} |")
    parts.append(f"| also, for `submit --map` | {actions(FILES_ENTRANCE)} |")
    parts.append(f"| also, for `submit --queue` | {actions(QUEUE_ENTRANCE)} |")
    parts.append(
        "| also, `up` and `rehearse` with a key of KMS in `signing_key` | the key: `kms:GetPublicKey`, `kms:Sign` |"
    )
    parts.append("| also, with a key of KMS in `verification_key` | the key: `kms:GetPublicKey` |")
    parts.append(f"| also, if a stack needs recovery | {actions(RECOVERING)} |")
    parts.append(f"| also, for a template above 51,200 bytes | {actions(LARGE_TEMPLATES)} |")
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
    assert PAGE.read_text() == text(), "regenerate: python -m tests.unit.doctor.test_permissions_page"


if __name__ == "__main__":
    PAGE.write_text(text())
