"""``completion``: the script with which a shell completes this program's command lines."""

from __future__ import annotations

import re

import click
from click.shell_completion import get_completion_class

from commands.context import Context, Outcome
from commands.declared import command
from commands.next_steps import program_name


@command(
    "Print the completion script of a shell.",
    click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"])),
)
def completion(_context: Context, *, shell: str) -> Outcome:
    """Print the script that completes commands, options and their values in a shell.

    bash: eval "$(transaction-pipeline completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish:
    transaction-pipeline completion fish > ~/.config/fish/completions/transaction-pipeline.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise AssertionError(f"click completes {shell}")
    name = program_name()
    # The variable that click itself looks for.
    variable = f"_{re.sub('[-.]', '_', name)}_COMPLETE".upper()
    script = found(click.Command(name), {}, name, variable).source()
    return Outcome({"shell": shell, "script": script}, script)
