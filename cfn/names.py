"""Every name that carries the environment, in one place. One folder name is a function's name everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cfn.problems import SettingsError

# Function names end in "-<environment>" and Lambda allows 64 characters; ECR refuses doubled separators.
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
ENVIRONMENT_MAX = 16

# Parameters of the pipeline stack that only the account or the region can fill.
DYNAMODB_PREFIX_LIST = "DynamoDbPrefixListId"
S3_PREFIX_LIST = "S3PrefixListId"
ZONES = "Zones"
RESERVED_CONCURRENCY = "ReservedConcurrency"
# Whether aliases move to new versions as the settings' ``release`` says ("true"), or at once ("false").
SHIFT_TRAFFIC = "ShiftTraffic"
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

    Raises SettingsError for an environment that cannot be part of every name.
    """

    environment: str

    def __post_init__(self) -> None:
        if not _ENVIRONMENT.fullmatch(self.environment) or len(self.environment) > ENVIRONMENT_MAX:
            raise SettingsError(
                f"the environment {self.environment!a} cannot be used",
                f"a name is 1 to {ENVIRONMENT_MAX} characters of a-z, 0-9 and single hyphens, and starts with a letter",
                "Choose a name like dev, test-2 or prod.",
            )

    def function(self, name: str) -> str:
        return f"{name}-{self.environment}"

    # A repository and a log group are called like the function that they serve.
    repository = function
    log_group = function

    @property
    def registry_stack(self) -> str:
        return f"transaction-registry-{self.environment}"

    @property
    def pipeline_stack(self) -> str:
        return f"transaction-pipeline-{self.environment}"

    @property
    def placeholder_function(self) -> str:
        """The registry stack's own function, which pushes the placeholder images."""
        return f"transaction-placeholder-{self.environment}"

    @property
    def state_machine(self) -> str:
        return f"transaction-pipeline-{self.environment}"

    @property
    def state_machine_log_group(self) -> str:
        # The prefix keeps Step Functions' log delivery policy from outgrowing its limit (AWS documentation).
        return f"/aws/vendedlogs/states/transaction-pipeline-{self.environment}"

    @property
    def table(self) -> str:
        return f"transaction-state-{self.environment}"

    @property
    def alert_topic(self) -> str:
        return f"fraud-alerts-{self.environment}"

    @property
    def alarm_topic(self) -> str:
        return f"transaction-alarms-{self.environment}"

    @property
    def dead_letter_queue(self) -> str:
        return f"transaction-dlq-{self.environment}"
