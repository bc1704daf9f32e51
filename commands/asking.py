"""Questions before data is lost. Without a terminal the answer is no, and the error names the command that approves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cfn.problems import Command
from commands.context import Context
from pipeline.core.errors import NextStep, NotApproved, ReleaseError, SettingsError

if TYPE_CHECKING:
    from pipeline.release.deployment import Approve
    from pipeline.stacks import ResourceChange


def approval(context: Context, command: Command, *, yes: bool) -> Approve:
    """A function that a deployment calls before a stack update that loses data; raises NotApproved.

    command  the command that the user ran; the error suggests it with --yes
    yes      approve without asking
    """

    def approve(stack: str, lost: Sequence[ResourceChange]) -> None:
        if yes:
            return
        losses = [f"{each.logical_id} ({each.resource_type}) would be {_fate(each)}" for each in lost]
        what = f"the stack {stack} was not changed"
        if context.ask is None:
            raise NotApproved(
                what,
                f"{'; '.join(losses)}, and there is no terminal to ask on",
                NextStep("Approve it", (*command, "--yes")),
            )
        question = "\n".join([f"{stack} would lose data:", *(f"  {line}" for line in losses), "Type yes to continue"])
        if context.ask(question).strip().lower() != "yes":
            # plan shows what up would change, which is not what a rollback would.
            show: Command = (*command, "--plan") if command[0] == "promote" else ("plan",)
            raise NotApproved(
                what,
                "it was not approved",
                "Run it again and approve it." if command[0] == "rollback" else NextStep("Show the change", show),
            )

    return approve


def confirm_name(context: Context, *, yes: bool) -> None:
    """Ask for the environment's name before it is deleted from AWS. Raises ReleaseError for any other answer."""
    if yes or context.target_name == "local":
        return
    what = f"{context.environment} was not deleted"
    if context.ask is None:
        raise ReleaseError(
            what,
            "it is on AWS, and there is no terminal to confirm its name on",
            NextStep("Delete it anyway", ("down", "--yes")),
        )
    question = f"This deletes {context.environment} with its data. Type its name to continue"
    if context.ask(question).strip() != context.environment:
        raise ReleaseError(what, "the answer was not its name", "Run it again, and type the name exactly.")


def confirm_watching(context: Context, *, yes: bool) -> None:
    """Ask before every saved file is released to AWS. Raises SettingsError for any answer but yes."""
    if yes or context.target_name == "local":
        return
    what = "watch was not started"
    if context.ask is None:
        raise SettingsError(
            what,
            f"on {context.target_name} every saved file would be released at once, and there is no terminal to ask on",
            "Approve that with --yes, which also approves the loss of data; or omit --target.",
        )
    question = (
        f"Every saved file is released to {context.environment} on {context.target_name} at once. Type yes to continue"
    )
    if context.ask(question).strip().lower() != "yes":
        raise SettingsError(what, "it was not approved", "Omit --target to watch on this machine.")


def _fate(change: ResourceChange) -> str:
    return "deleted" if change.action == "Remove" else "replaced by a new one"
