"""The root of the tree of expected errors, which ``pipeline.core.errors`` draws; here, so that ``cfn`` stands alone."""

from __future__ import annotations


class PipelineError(Exception):
    """An expected failure, told as a sentence of three parts.

    what       what was not done: "fraud-detection was not released"
    why        the cause, with the offending value: "its manifest is an OCI index, which Lambda refuses"
    next_step  what the reader can do now: "Build with --provenance=false."
    """

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(f"{what}: {why}. {next_step}")
        self.what = what
        self.why = why
        self.next_step = next_step

    def __reduce__(self) -> tuple[type[PipelineError], tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.next_step)


class SettingsError(PipelineError):
    """A setting or an environment name that cannot be used."""
