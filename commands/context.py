"""The context that every command receives, and the outcome that it returns."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cfn.names import Names
from cfn.settings import Architecture, OwnWorkflow, Settings
from pipeline.assembly.model import FunctionSource, Platform
from pipeline.core.errors import LocalError, NextStep, SettingsError
from pipeline.core.events import Report, ignore
from pipeline.environment.configuration import (
    Choices,
    Project,
    python_of,
    read_accounts,
    read_choices,
    read_project,
    settings_of,
)
from pipeline.environment.project import SETTINGS_FILE, find_project
from pipeline.environment.resources_file import read_resources
from pipeline.environment.workflow_file import read_workflow
from pipeline.target import Target

if TYPE_CHECKING:
    from pipeline.local.host.control import LocalAws

# With TRANSACTION_PIPELINE_ENDPOINT: the root access key of the embedded AWS there.
ELSEWHERE_KEY = ("TRANSACTION_PIPELINE_ACCESS_KEY_ID", "TRANSACTION_PIPELINE_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command: ``result`` for --json, ``text`` for people, and the exit code."""

    result: Mapping[str, Any]
    text: str
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command writes lines while it runs.

    write    prints to stdout
    tell     prints to stderr
    as_json  lines on stdout are JSON
    colour   lines on stdout may be coloured
    """

    write: Callable[[str], None] = lambda _line: None
    tell: Callable[[str], None] = lambda _line: None
    as_json: bool = False
    colour: bool = False


@dataclass
class Context:
    """The options shared by all commands, and values derived from them on first use.

    project  the project's folder; None searches upwards from the current folder
    ask      asks the user a question and returns the answer; None without a terminal

    Raises SettingsError for an invalid environment name.
    """

    environment: str = "dev"
    target_name: str = "local"
    region: str | None = None
    report: Report = field(default=ignore)
    ask: Callable[[str], str] | None = None
    project: Path | None = None
    base: str | None = None
    builder: str = "layers"
    chosen_runtime: str | None = None
    console: Console = Console()

    def __post_init__(self) -> None:
        Names(self.environment)

    @cached_property
    def names(self) -> Names:
        return Names(self.environment, self.described.name)

    @cached_property
    def described(self) -> Project:
        """The table [project] of ``environments.toml``."""
        return read_project(self.root / SETTINGS_FILE)

    @cached_property
    def root(self) -> Path:
        """The project's folder. Raises SettingsError if there is none."""
        return self.project.absolute() if self.project is not None else find_project(Path.cwd())

    @cached_property
    def chosen_region(self) -> str | None:
        """The region of --region, else that of the settings; None leaves it to the profile, locally to us-east-1."""
        return self.region if self.region is not None else self.choices.region

    @property
    def local_folder(self) -> Path:
        """The folder of the embedded AWS: ``$TRANSACTION_PIPELINE_LOCAL``, or .local in the project."""
        chosen = os.environ.get("TRANSACTION_PIPELINE_LOCAL")
        return Path(chosen) if chosen else self.root / ".local"

    @property
    def local_exists(self) -> bool:
        """Whether this folder has an embedded AWS: running, elsewhere, or only its saved state."""
        from pipeline.local.host.control import find_local, keeps_state

        if self._local_elsewhere() is not None or find_local(self.local_folder) is not None:
            return True
        return keeps_state(self.local_folder)

    @property
    def local_runs(self) -> bool:
        """Whether the embedded AWS of this folder is running."""
        from pipeline.local.host.control import find_local

        return find_local(self.local_folder) is not None

    @property
    def images_folder(self) -> Path:
        return self.root / "images"

    @property
    def pins(self) -> Path:
        return self.root / "bases.toml"

    @cached_property
    def choices(self) -> Choices:
        return read_choices(self.root / SETTINGS_FILE, self.environment)

    @cached_property
    def own_workflow(self) -> OwnWorkflow | None:
        """The project's own workflow. Raises SettingsError."""
        return read_workflow(self.root, self.described.workflow)

    @property
    def has_workflow(self) -> bool:
        """Whether the stack has a state machine: that of the transaction pipeline, or an own one."""
        return self.described.workflow is not None or self.own_workflow is not None

    @cached_property
    def settings(self) -> Settings:
        settings = settings_of(
            self.environment,
            self.choices,
            project=self.described,
            architecture=self.platform.architecture,
            resources=read_resources(self.root),
            own_workflow=self.own_workflow,
        )
        if self.target_name == "local" and self.choices.release is not None:
            from cfn.validation import ALL_AT_ONCE, check_settings

            check_settings(settings)
            # The embedded AWS has no CodeDeploy, so the alias moves in the stack update.
            settings = replace(settings, release=ALL_AT_ONCE)
        return settings

    def require_transactions(self, what: str) -> None:
        """Raise SettingsError, with ``what`` was not done, for a project without the transaction pipeline."""
        if self.described.workflow is not None:
            return
        if self.own_workflow is not None:
            raise SettingsError(
                what,
                f"the project {self.described.name} has a workflow of its own, and no transactions",
                NextStep("Start an execution instead", ("submit", "INPUT")),
            )
        self.require_workflow(what)

    def require_workflow(self, what: str) -> None:
        """Raise SettingsError, with ``what`` was not done, for a project without a workflow."""
        if not self.has_workflow:
            raise SettingsError(
                what,
                f"the project {self.described.name} has functions only, and no workflow",
                NextStep("Invoke a function instead", ("invoke", "FUNCTION", "EVENT")),
            )

    @cached_property
    def runtime(self) -> str:
        """The runtime of the local target: the chosen one, else the running one, else processes."""
        if self.chosen_runtime is None:
            from pipeline.local.host.control import find_local

            local = find_local(self.local_folder)
            return local.runtime if local is not None else "process"
        return self.chosen_runtime

    @cached_property
    def platform(self) -> Platform:
        """The platform of the images: this machine's Python for the process runtime, else from the settings."""
        if self.target_name == "local":
            from pipeline.target import host_architecture, host_platform_of_functions

            if self.runtime == "process":
                return host_platform_of_functions()
            return Platform(host_architecture(), python_of(self.choices))
        return Platform(self.choices.architecture or Architecture.ARM64, python_of(self.choices))

    @cached_property
    def sources(self) -> tuple[FunctionSource, ...]:
        from pipeline.assembly.sources import find_sources

        return find_sources(self.images_folder, environment=self.environment, entrances=self.choices.entrances or ())

    def started_target(self) -> Target:
        """The target; starts the embedded AWS if it is not running."""
        if self.target_name == "aws":
            return self.running_target()
        from pipeline.target import local_target

        if (elsewhere := self._local_elsewhere()) is not None:
            return local_target(elsewhere, self.chosen_region, self.report, account=self.choices.account)
        return local_target(self._started(), self.chosen_region, self.report, account=self.choices.account)

    def _started(self) -> LocalAws:
        from pipeline.core.surroundings import require_limits
        from pipeline.local.host.control import find_local, start_local

        if find_local(self.local_folder) is None:
            # A mistake in the project is said before anything is started for it.
            _ = self.settings
            require_limits()
        return start_local(self.local_folder, runtime=self.chosen_runtime, report=self.report)

    def running_target(self) -> Target:
        """The target; starts nothing. Raises LocalError if the embedded AWS is not running."""
        from pipeline.target import aws_target, local_target

        if self.target_name == "aws":
            where = self.choices
            return aws_target(self.chosen_region, where.profile, self.report, role=where.role, account=where.account)
        return local_target(self.running_local(), self.chosen_region, self.report, account=self.choices.account)

    def local_targets(self) -> tuple[Target, ...]:
        """The running embedded AWS, in its own account and in each that the settings name."""
        from pipeline.target import local_target

        local, accounts = self.running_local(), read_accounts(self.root / SETTINGS_FILE)
        return tuple(local_target(local, self.chosen_region, self.report, account=each) for each in (None, *accounts))

    def local_aws(self) -> LocalAws | None:
        """The embedded AWS; None if it is not running."""
        from pipeline.local.host.control import find_local

        return self._local_elsewhere() or find_local(self.local_folder)

    def running_local(self) -> LocalAws:
        """The embedded AWS. Raises LocalError if it is not running."""
        local = self.local_aws()
        if local is None:
            raise LocalError(
                f"{self.environment} was not contacted",
                "the embedded AWS is not running",
                NextStep("Start it", ("up",)),
            )
        return local

    @property
    def runs_elsewhere(self) -> bool:
        """Whether another program starts and stops the embedded AWS, such as docker compose."""
        return bool(os.environ.get("TRANSACTION_PIPELINE_ENDPOINT"))

    def _local_elsewhere(self) -> LocalAws | None:
        """The embedded AWS at ``$TRANSACTION_PIPELINE_ENDPOINT``, such as that of docker compose."""
        if not self.runs_elsewhere:
            return None
        from pipeline.local.host.control import LocalAws

        endpoint = _endpoint(os.environ["TRANSACTION_PIPELINE_ENDPOINT"])
        key, secret = (os.environ.get(name) or self._of_compose(name) for name in ELSEWHERE_KEY)
        if not (key and secret):
            raise LocalError(
                f"{self.environment} was not contacted",
                f"TRANSACTION_PIPELINE_ENDPOINT is set, and {' and '.join(ELSEWHERE_KEY)} are not",
                "Set them to the access key of that embedded AWS. For compose, `make compose-context` writes them into"
                " .env.",
            )
        return LocalAws(endpoint, endpoint, "us-east-1", key, secret, 0, self.local_folder)

    def _of_compose(self, name: str) -> str:
        """A variable of the ``.env`` that ``make compose-context`` writes; "" if it is not there."""
        try:
            found = re.search(rf"(?m)^{name}=(\S+)$", (self.root / ".env").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return ""
        return found[1] if found else ""


def _endpoint(text: str) -> str:
    """Validates the URL of an embedded AWS. Raises SettingsError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        usable = usable and parts.path in ("", "/") and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable or not text.isprintable():
        raise SettingsError(
            "the embedded AWS was not contacted",
            f"TRANSACTION_PIPELINE_ENDPOINT is {text!a}, which is not the URL of a host",
            "Set it to a URL such as http://127.0.0.1:4566, or unset it to use the embedded AWS of this folder.",
        )
    return text.rstrip("/")
