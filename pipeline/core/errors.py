"""The tree of expected errors, each with what failed, why, and the next step.

    PipelineError
    ├── SettingsError        a setting or an environment name that cannot be used
    ├── SourceError          a function folder that cannot become an image
    ├── DependencyError      locked requirements that do not resolve to wheels for the target
    ├── BaseImageError       a base image that cannot be found, read or used
    ├── RegistryError        a registry that refused, returned wrong data or could not be reached
    ├── CheckFailed          an image that Lambda would refuse; carries every finding
    ├── StackError           a stack that cannot be planned or did not reach the wanted state
    ├── ReleaseError         a release that cannot be recorded, found, returned to or pruned
    │   └── NotApproved      a change that would lose data was not approved
    ├── FunctionError        a function that does not run the pushed image
    ├── SubmissionError      a transaction that could not be submitted or answered
    ├── VerificationError    a workflow definition that cannot be read
    ├── CredentialsError     no usable credentials for the target
    ├── AccountError         an account or a region in which the deployment would fail
    ├── StorageError         a disk that is full or cannot be written
    ├── ResourceError        memory, threads or open files of this machine are exhausted
    └── LocalError           the embedded AWS or its runtime

Only ``bootstrap.py`` prints them. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfn.problems import NextStep as NextStep
from cfn.problems import PipelineError as PipelineError
from cfn.problems import SettingsError as SettingsError

# The next step if a package of the extra ``local`` is missing.
INSTALL_LOCAL = "Install the program with its extra: pip install 'transaction-pipeline[local]'"


class SourceError(PipelineError):
    """A function folder that cannot become an image."""


class DependencyError(PipelineError):
    """Locked requirements that do not resolve to wheels for the target."""


class BaseImageError(PipelineError):
    """A base image that cannot be found, read or used."""


class RegistryError(PipelineError):
    """A registry that refused, returned wrong data or could not be reached."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of Lambda that an image breaks.

    rule     a short stable id: "layer-hard-link"
    message  what was found, with the offending value
    cure     what to do about it
    source   where the rule comes from: AWS's page, or the report that showed it
    """

    rule: str
    message: str
    cure: str
    source: str


class CheckFailed(PipelineError):
    """An image that Lambda would refuse. ``findings`` has every broken rule at once."""

    def __init__(self, what: str, why: str, next_step: NextStep | str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(what, why, next_step)
        self.findings = findings


class StackError(PipelineError):
    """A stack that cannot be planned or did not reach the wanted state."""


class ReleaseError(PipelineError):
    """A release that cannot be recorded, found, returned to or pruned."""


class NotApproved(ReleaseError):
    """A change that would lose data was not approved; the stack is unchanged."""


class FunctionError(PipelineError):
    """A function that does not run the pushed image."""


class SubmissionError(PipelineError):
    """A transaction that could not be submitted or answered."""


class VerificationError(PipelineError):
    """A workflow definition that cannot be read."""


class CredentialsError(PipelineError):
    """No usable credentials for the target."""


class AccountError(PipelineError):
    """An account or a region in which the deployment would fail, with all reasons."""


class StorageError(PipelineError):
    """A disk that is full or cannot be written."""


class ResourceError(PipelineError):
    """Memory, threads or open files of this machine are exhausted."""


class LocalError(PipelineError):
    """The embedded AWS or its runtime failed."""
