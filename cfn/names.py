"""All names that contain the environment. A function has the name of its folder everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cfn.problems import SettingsError

# Function names end in "-<environment>" and Lambda allows 64 characters; ECR refuses doubled separators.
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
ENVIRONMENT_MAX = 16
# Stacks of a project without a name, which is the transaction pipeline's, begin with this.
UNNAMED = "transaction"
PROJECT_MAX = 20

# Parameters of the pipeline stack that only the account or the region can fill.
DYNAMODB_PREFIX_LIST = "DynamoDbPrefixListId"
S3_PREFIX_LIST = "S3PrefixListId"
ZONES = "Zones"
RESERVED_CONCURRENCY = "ReservedConcurrency"
# Whether aliases move to new versions as the settings' ``release`` says ("true"), or at once ("false").
SHIFT_TRAFFIC = "ShiftTraffic"
# The logical id of the state machine.
STATE_MACHINE = "StateMachine"
# What the workflow calls: this alias of every function.
LIVE_ALIAS = "live"


def pascal_case(name: str) -> str:
    """``fraud-detection`` → ``FraudDetection``: the stem of a function's logical ids, parameters and outputs."""
    return "".join(part.capitalize() for part in name.split("-"))


def image_parameter(function: str) -> str:
    """The pipeline stack's parameter that a function's image fills: ``FraudDetectionImageUri``."""
    return f"{pascal_case(function)}ImageUri"


def repository_resource(function: str) -> str:
    return f"{pascal_case(function)}Repository"


def repository_output(function: str) -> str:
    return f"{pascal_case(function)}RepositoryUri"


def placeholder_output(function: str) -> str:
    return f"{pascal_case(function)}PlaceholderUri"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one environment: ``Names("dev").function("fraud-detection") == "fraud-detection-dev"``.

    project  begins every name, so that several projects fit into one account:
             ``Names("dev", "orders").function("bill") == "orders-bill-dev"``; "" is the transaction pipeline's own

    Raises SettingsError for an environment or a project that cannot be part of every name.
    """

    environment: str
    project: str = ""

    def __post_init__(self) -> None:
        if self.project and (
            not _NAME.fullmatch(self.project) or len(self.project) > PROJECT_MAX or self.project == UNNAMED
        ):
            raise SettingsError(
                f"the project's name {self.project[:80]!a} cannot be used",
                f"a name is 1 to {PROJECT_MAX} characters of a-z, 0-9 and single hyphens, starts with a letter, and is"
                f" not {UNNAMED}",
                "Choose a name like orders for [project] in environments.toml.",
            )
        if not _NAME.fullmatch(self.environment) or len(self.environment) > ENVIRONMENT_MAX:
            raise SettingsError(
                f"the environment {self.environment!a} cannot be used",
                f"a name is 1 to {ENVIRONMENT_MAX} characters of a-z, 0-9 and single hyphens, and starts with a letter",
                "Choose a name like dev, test-2 or prod.",
            )

    @property
    def ledger(self) -> str:
        """What the environment is called where other projects' environments are too: ``orders/dev``."""
        return f"{self.project}/{self.environment}" if self.project else self.environment

    def _of_project(self, name: str) -> str:
        return f"{self.project or UNNAMED}-{name}-{self.environment}"

    def function(self, name: str) -> str:
        return f"{self.project}-{name}-{self.environment}" if self.project else f"{name}-{self.environment}"

    # A repository and a log group are called like the function that they serve.
    repository = function
    log_group = function

    @property
    def registry_stack(self) -> str:
        return self._of_project("registry")

    @property
    def pipeline_stack(self) -> str:
        return self._of_project("pipeline")

    @property
    def rehearsal_stack(self) -> str:
        """The stack that exists while a release is rehearsed (``cfn.rehearsal``)."""
        return self._of_project("rehearsal")

    @property
    def placeholder_function(self) -> str:
        """The registry stack's own function, which pushes the placeholder images."""
        return self._of_project("placeholder")

    @property
    def state_machine(self) -> str:
        return self._of_project("pipeline")

    @property
    def state_machine_log_group(self) -> str:
        return self.workflow_log_group(self.state_machine)

    @staticmethod
    def workflow_log_group(state_machine: str) -> str:
        """The log group of a state machine, by its name."""
        # The prefix keeps Step Functions' log delivery policy from outgrowing its limit (AWS documentation).
        return f"/aws/vendedlogs/states/{state_machine}"

    @property
    def files_state_machine(self) -> str:
        """The STANDARD state machine of the entrance ``files``."""
        return self._of_project("files")

    @property
    def api_log_group(self) -> str:
        # With the prefix for the same reason.
        return f"/aws/vendedlogs/apigateway/{self.pipeline_stack}"

    @property
    def sweeper(self) -> str:
        """The state machine that parks lost claims, and its schedule."""
        return self._of_project("sweeper")

    @property
    def table(self) -> str:
        return self._of_project("state")

    @property
    def alert_topic(self) -> str:
        return f"{self.project}-alerts-{self.environment}" if self.project else f"fraud-alerts-{self.environment}"

    @property
    def alarm_topic(self) -> str:
        return self._of_project("alarms")

    @property
    def dead_letter_queue(self) -> str:
        return self._of_project("dlq")
