"""The root of the error tree, which ``pipeline.core.errors`` draws; here, because ``cfn`` imports nothing above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The words of a command of this program, without the program and the options that name an environment.
Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, init=False)
class NextStep:
    """What to do after a failure: ``NextStep("Start it", ("up",))``.

    text      a sentence, without its full stop if commands follow
    commands  the commands that do it, in order, such as ``("build", "--update-base")``
    """

    text: str
    commands: tuple[Command, ...]

    def __init__(self, text: str, *commands: Command) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "commands", commands)

    @classmethod
    def of(cls, value: NextStep | str) -> NextStep:
        """The value itself, or plain text as a step without a command."""
        return cls(value) if isinstance(value, str) else value

    def render(self, spell: Callable[[Command], str]) -> str:
        """The step as text, each command as ``spell`` writes it."""
        if not self.commands:
            return self.text
        return f"{self.text}: {', then '.join(map(spell, self.commands))}"

    def __str__(self) -> str:
        return self.render(" ".join)


class PipelineError(Exception):
    """An expected failure, in three parts.

    what       what was not done: "fraud-detection was not released"
    why        the cause, with the offending value: "its manifest is an OCI index, which Lambda refuses"
    next_step  what the reader can do now: "Build with --provenance=false.", or a NextStep with commands
    """

    def __init__(self, what: str, why: str, next_step: NextStep | str) -> None:
        step = NextStep.of(next_step)
        super().__init__(f"{what}: {why}. {step}")
        self.what = what
        self.why = why
        self.next_step = step

    def __reduce__(self) -> tuple[type[PipelineError], tuple[str, str, NextStep]]:
        return type(self), (self.what, self.why, self.next_step)


class SettingsError(PipelineError):
    """A setting or an environment name that cannot be used."""
