"""The settings of an environment, read from the project's ``environments.toml``.

    [project]
    name = "orders"

    [defaults]
    architecture = "arm64"

    [environments.prod]
    protect_data = true
    encryption = "KMS"

Every key but the project's name is optional; an environment that is not named gets the defaults. With ``--target
local`` images are for the architecture and Python of this machine, because their functions run on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cfn.settings import TRANSACTIONS, Architecture, Entrance, Jwt, OwnWorkflow, Settings
from pipeline.assembly.model import PythonVersion
from pipeline.core.errors import SettingsError
from pipeline.core.tables import convert, read_toml
from pipeline.environment.lifetime import EXPIRES_AFTER, parse_lifetime
from pipeline.environment.personal import PERSONAL, own_environment

SUPPORTED_PYTHONS = tuple(PythonVersion(3, minor) for minor in (11, 12, 13, 14, 15))


_Account = Annotated[str, Meta(pattern=r"^[0-9]{12}\Z")]
_Region = Annotated[str, Meta(pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}\Z")]
_Role = Annotated[str, Meta(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]{1,512}\Z")]
_Profile = Annotated[str, Meta(min_length=1, max_length=200)]


class RehearsalChoices(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The table ``rehearsal``: a release is rehearsed before it switches, and refused if it changes too much.

    file         of recorded transactions, from the project's folder; limit: how many of them
    max_changed  outcomes that may change; absent: any number
    forbidden    kinds of which there may be none: "REJECTED to APPROVED"
    """

    file: str
    limit: Annotated[int, Meta(ge=1)] | None = None
    max_changed: Annotated[int, Meta(ge=0)] | None = None
    forbidden: tuple[str, ...] = ()


class Choices(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of ``environments.toml`` for all environments or for one; None if absent.

    profile  of the AWS configuration, instead of AWS_PROFILE
    role     the ARN of a role that is assumed with the credentials of the profile
    account  the only account that commands work in
    region   used without --region
    """

    profile: _Profile | None = None
    role: _Role | None = None
    account: _Account | None = None
    region: _Region | None = None

    architecture: Architecture | None = None
    python: str | None = None
    base: str | None = None
    slim: bool | None = None
    byte_code: bool | None = None
    allowed_credentials: tuple[str, ...] | None = None
    signing_key: str | None = None
    verification_key: str | None = None
    require_signature: bool | None = None
    vulnerabilities: str | None = None
    refuse_vulnerabilities: str | None = None
    entrances: tuple[Entrance, ...] | None = None
    queue_fifo: bool | None = None
    jwt: Jwt | None = None
    transactions_per_minute: int | None = None
    burst: float | None = None
    reserved_concurrency: int | None = None
    find_lost_claims: bool | None = None
    encryption: str | None = None
    table_class: str | None = None
    protect_data: bool | None = None
    log_retention_days: int | None = None
    zones: int | None = None
    vpc_cidr: str | None = None
    endpoints: tuple[str, ...] | None = None
    alarm_topic: str | None = None
    alarm_subscriptions: tuple[str, ...] | None = None
    alert_subscriptions: tuple[str, ...] | None = None
    dashboard: bool | None = None
    release: str | None = None
    rehearsal: RehearsalChoices | None = None
    subnets: tuple[str, ...] | None = None
    security_groups: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None
    expires_after: str | None = None


_SETTINGS = (
    "entrances",
    "queue_fifo",
    "jwt",
    "transactions_per_minute",
    "burst",
    "reserved_concurrency",
    "find_lost_claims",
    "encryption",
    "table_class",
    "protect_data",
    "log_retention_days",
    "zones",
    "vpc_cidr",
    "endpoints",
    "alarm_topic",
    "alarm_subscriptions",
    "alert_subscriptions",
    "dashboard",
    "release",
    "subnets",
    "security_groups",
)


class Project(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[project]``.

    name      begins the names of everything in an account
    workflow  TRANSACTIONS for the transaction pipeline; a project without it has functions, and perhaps a workflow of
              its own (``pipeline.environment.workflow_file``)
    """

    name: str = ""
    workflow: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    project: Project = Project()
    defaults: Choices = Choices()
    environments: dict[str, Choices] = {}


def read_choices(path: Path, environment: str) -> Choices:
    """The settings for ``environment``, with the defaults for all; empty if there is no file.

    The user's own environment has the table ``[environments.me]`` unless it has one of its own. Raises SettingsError
    for a file that is not TOML, and with all unknown keys and wrong values.
    """
    file = _read(path)
    personal = file.environments.get(PERSONAL) if environment == own_environment() else None
    own = file.environments.get(environment, personal or Choices())
    return Choices(
        **{name: _either(getattr(own, name), getattr(file.defaults, name)) for name in Choices.__struct_fields__}
    )


def read_accounts(path: Path) -> tuple[str, ...]:
    """Every account that the file names. Raises SettingsError."""
    file = _read(path)
    return tuple(sorted({each.account for each in (file.defaults, *file.environments.values()) if each.account}))


def read_project(path: Path) -> Project:
    """The project that the file describes. Raises SettingsError, also for one without a name."""
    project = _read(path).project
    if project.workflow not in (None, TRANSACTIONS):
        raise SettingsError(
            f"{path.name} cannot be used",
            f"workflow is {project.workflow[:80]!a} and there is only {TRANSACTIONS!r}",
            f'Write [project] workflow = "{TRANSACTIONS}", or leave it out: an own workflow is workflow.asl.yaml.',
        )
    if not project.name and project.workflow is None:
        raise SettingsError(
            "the project has no name",
            f"{path} has no name in [project], which begins the names of its stacks and functions",
            f'Add [project] and name = "orders" to it; the transaction pipeline has workflow = "{TRANSACTIONS}".',
        )
    return project


def _read(path: Path) -> _File:
    try:
        return convert(read_toml(path), _File)
    except FileNotFoundError:
        if not path.is_symlink():
            return _File()
        raise SettingsError(f"{path.name} cannot be used", "it is a link to a missing file", f"Fix {path}.") from None
    except OSError as problem:
        raise SettingsError(f"{path.name} cannot be used", str(problem.strerror), f"Fix {path}.") from problem
    except ValueError as problem:
        raise SettingsError(
            f"{path.name} cannot be used", str(problem), f"Fix {path}; its keys are listed in the README."
        ) from problem


def _either(own: Any, default: Any) -> Any:
    return default if own is None else own


def settings_of(
    environment: str,
    choices: Choices,
    *,
    project: Project,
    architecture: Architecture,
    resources: str = "",
    own_workflow: OwnWorkflow | None = None,
) -> Settings:
    """The template settings of an environment.

    resources     what ``read_resources`` gives
    own_workflow  what ``read_workflow`` gives
    """
    said: dict[str, Any] = {name: value for name in _SETTINGS if (value := getattr(choices, name)) is not None}
    tags = dict(choices.tags or {})
    if choices.expires_after is not None:
        try:
            parse_lifetime(choices.expires_after)
        except ValueError as problem:
            raise SettingsError(
                f"the settings of {environment} cannot be used",
                f"expires_after: {problem}",
                'Write it like expires_after = "1d".',
            ) from problem
        tags[EXPIRES_AFTER] = choices.expires_after
    if tags:
        said["tags"] = tuple(sorted(tags.items()))
    return Settings(
        environment=environment,
        architecture=architecture,
        project=project.name,
        workflow=project.workflow,
        own_workflow=own_workflow,
        resources=resources,
        **said,
    )


def python_of(choices: Choices) -> PythonVersion:
    """The Python that an image for AWS is made for: 3.13 unless said otherwise."""
    text = choices.python or "3.13"
    try:
        version = PythonVersion.parse(text)
    except ValueError as problem:
        raise SettingsError(f"python = {text!r} cannot be used", str(problem), "Write it like 3.13.") from problem
    if version not in SUPPORTED_PYTHONS:
        known = ", ".join(str(each) for each in SUPPORTED_PYTHONS)
        raise SettingsError(f"python = {text!r} cannot be used", f"images are made for {known}", "Choose one of them.")
    return version
