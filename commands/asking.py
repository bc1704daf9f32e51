"""Questions before something is lost. Without a terminal the answer is no, with the command that says yes."""

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
    """What a deployment calls before a stack update that loses something.

    command  what the user ran, repeated with --yes in the error
    yes      --yes was given: approve without asking
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
                NextStep("Go on anyway", (*command, "--yes")),
            )
        question = "\n".join(
            [f"{stack} would lose something:", *(f"  {line}" for line in losses), "Go on? Type yes to do it"]
        )
        if context.ask(question).strip().lower() != "yes":
            # plan shows what up would change, which is not what a rollback would.
            rollback = command[0] == "rollback"
            raise NotApproved(
                what,
                "it was not approved",
                "Run it again to be asked again." if rollback else NextStep("Look at the change", ("plan",)),
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
            "it is on AWS, and there is no terminal to ask for its name on",
            NextStep("Delete it anyway", ("down", "--yes")),
        )
    question = f"This deletes {context.environment} and what is in it. Type the environment's name to do it"
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
            "Add --yes if that is what you want, also where a resource would be lost; or leave --target out.",
        )
    question = (
        f"Every saved file is released to {context.environment} on {context.target_name} at once."
        " Go on? Type yes to do it"
    )
    if context.ask(question).strip().lower() != "yes":
        raise SettingsError(what, "it was not approved", "Leave --target out to watch on this machine.")


def _fate(change: ResourceChange) -> str:
    return "deleted" if change.action == "Remove" else "replaced by a new one"
