"""Questions before something is lost. Where nobody can answer, the answer is no, with the way to say yes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from commands.context import Context
from commands.next_steps import command_line
from pipeline.core.errors import NotApproved, ReleaseError, SettingsError

if TYPE_CHECKING:
    from pipeline.release.deployment import Approve
    from pipeline.stacks import ResourceChange


def approval(context: Context, command: str, *, yes: bool) -> Approve:
    """What a deployment asks before a stack update that loses something; ``yes`` was said on the command line."""

    def approve(stack: str, lost: Sequence[ResourceChange]) -> None:
        if yes:
            return
        told = [f"{each.logical_id} ({each.resource_type}) would be {_fate(each)}" for each in lost]
        what = f"the stack {stack} was not changed"
        # What `plan` shows is what `up` would do, which is another change than a rollback.
        look = "" if command.startswith("rollback") else f"`{command_line(context, 'plan')}` shows the change."
        if context.ask is None:
            raise NotApproved(
                what,
                f"{'; '.join(told)}, and there is no terminal to ask on",
                f"{look} To go on all the same: {command_line(context, command)} --yes".lstrip(),
            )
        question = "\n".join(
            [f"{stack} would lose something:", *(f"  {line}" for line in told), "Go on? Type yes to do it"]
        )
        if context.ask(question).strip().lower() != "yes":
            raise NotApproved(what, "it was not approved", look or "Run it again to be asked again.")

    return approve


def confirm_name(context: Context, *, yes: bool) -> None:
    """Before an environment of AWS is deleted its name is asked for. Raises ReleaseError for any other answer."""
    if yes or context.target_name == "local":
        return
    what = f"{context.environment} was not taken down"
    if context.ask is None:
        raise ReleaseError(
            what,
            "it is on AWS, and there is no terminal to ask for its name on",
            f"To do it all the same: {command_line(context, 'down')} --yes",
        )
    question = f"This deletes {context.environment} and what is in it. Type the environment's name to do it"
    if context.ask(question).strip() != context.environment:
        raise ReleaseError(what, "that was not its name", "Run it again, and give the name as it is.")


def confirm_watching(context: Context, *, yes: bool) -> None:
    """Before every file that is saved goes to AWS. Raises SettingsError for any answer but a yes."""
    if yes or context.target_name == "local":
        return
    what = "nothing is watched"
    if context.ask is None:
        raise SettingsError(
            what,
            f"on {context.target_name} every file that is saved would be released there at once, and there is no"
            " terminal to ask on",
            "Add --yes when that is what you want, also where a resource would be lost; or leave --target out.",
        )
    question = (
        f"Every file that is saved is released to {context.environment} on {context.target_name} at once."
        " Go on? Type yes to do it"
    )
    if context.ask(question).strip().lower() != "yes":
        raise SettingsError(what, "it was not approved", "Leave --target out to watch on this machine.")


def _fate(change: ResourceChange) -> str:
    return "deleted" if change.action == "Remove" else "replaced by a new one"
