"""The inputs of a deployment as immutable values: functions, and the settings of one environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from cfn.events.kinds import Event
from cfn.names import Names
from cfn.problems import SettingsError


class Architecture(StrEnum):
    """A Lambda instruction set, by Lambda's own name. ``.oci`` is the name that image configs use."""

    ARM64 = "arm64"
    X86_64 = "x86_64"

    @property
    def oci(self) -> str:
        return "arm64" if self is Architecture.ARM64 else "amd64"


class Entrance(StrEnum):
    """A way for transactions into the pipeline beside the call of the state machine: docs/entrances.md."""

    HTTP = "http"
    QUEUE = "queue"
    FILES = "files"


class Jwt(Struct, forbid_unknown_fields=True, frozen=True):
    """Whose tokens (JWT) the routes of ``auth = "jwt"`` accept.

    issuer    the URL of an OpenID Connect provider, as tokens have it in "iss"
    audience  of which a token has one, in "aud" or "client_id"
    scopes    of which a token has one, in "scope" or "scp"; () demands none
    """

    issuer: str
    audience: tuple[str, ...]
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """AWS calls that a function makes: ``Call("dynamodb", ("Query",), "state-table/index/customer")``.

    ``resource`` names something the pipeline stack makes (see ``cfn.functions``), never an ARN.
    """

    service: str
    actions: tuple[str, ...]
    resource: str


# Of an invocation whose duration ``function.toml`` does not give.
DEFAULT_MILLISECONDS = 100


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """What the templates need to know of one function; read from its ``function.toml``.

    memory        MB, 128 to 10240; 1,769 MB is one vCPU (Lambda guide, "Configure Lambda function memory")
    timeout       seconds, 1 to 900
    milliseconds  how long an invocation takes under load; the reserved executions are derived from it
    vpc           whether it runs in a VPC; None leaves it to ``Settings.in_vpc``
    ephemeral_storage        MB of /tmp, 512 to 10240
    reserved_concurrency     executions that only it has, and no more; None shares the account's
    provisioned_concurrency  executions that are kept initialised for the alias; 0 for none
    retries, maximum_age     attempts after the first, and seconds, for an event that invokes it asynchronously
    tracing                  whether X-Ray records its invocations
    secrets                  variable → reference, "secretsmanager:NAME" or "ssm:NAME"; the variable holds the name
    events                   what invokes it
    entrance                 the entrance that it is a part of, which alone deploys it; None: always deployed
    duration_known           whether ``function.toml`` gives ``milliseconds``; without it no cost can be computed
    """

    name: str
    description: str = ""
    memory: int = 1769
    timeout: int = 60
    milliseconds: int = DEFAULT_MILLISECONDS
    calls: tuple[Call, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    vpc: bool | None = None
    ephemeral_storage: int = 512
    reserved_concurrency: int | None = None
    provisioned_concurrency: int = 0
    retries: int = 2
    maximum_age: int = 21_600
    tracing: bool = False
    secrets: tuple[tuple[str, str], ...] = ()
    events: tuple[Event, ...] = ()
    entrance: Entrance | None = None
    duration_known: bool = False


# The workflow that this package has: the transaction pipeline, with its table, topics, queue and network.
TRANSACTIONS = "transactions"
# Types of a state machine, by Step Functions' own names.
EXPRESS, STANDARD = "EXPRESS", "STANDARD"


@dataclass(frozen=True, slots=True)
class OwnWorkflow:
    """The state machine of a project, from ``workflow.asl.yaml`` and ``workflow.toml``.

    definition  the definition as JSON, with ``${function:NAME}`` and ``${LogicalId}`` for what CloudFormation fills in
    kind        EXPRESS or STANDARD
    calls       what its role may call beside what follows from the definition
    smoke       the input of the execution that tries a release, as JSON; "" for none
    """

    definition: str
    kind: str = STANDARD
    calls: tuple[Call, ...] = ()
    smoke: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one environment. Everything has a default but the environment's name.

    project               begins every name; "" is the transaction pipeline's own
    workflow              TRANSACTIONS, or None: functions without a table, topics of alerts, or a network but for
                          those that ask for one
    own_workflow          the project's own state machine, without the transaction pipeline; None for none
    resources             the sections of ``resources.yaml`` as JSON; "" without one
    subnets, security_groups
                          an existing network for the functions in a VPC; () makes one
    entrances             the entrances of the transaction pipeline; () leaves the call of the state machine
    queue_fifo            whether the queue of the entrance ``queue`` is FIFO
    jwt                   whose tokens HTTP routes of ``auth = "jwt"`` accept, and those of the entrance ``http``; None
                          leaves the entrance to IAM
    transactions_per_minute  the load to carry
    burst                 how many times that load arrives at its peak
    reserved_concurrency  executions reserved per function; None derives them from the load, 0 reserves none, which
                          small accounts need
    find_lost_claims      whether a sweeper parks the claims of lost executions; else `redrive --lost` does
    encryption            how ECR encrypts: "AES256" or "KMS"
    table_class           of the state table: "STANDARD", or "STANDARD_INFREQUENT_ACCESS", with cheaper storage and
                          dearer requests
    protect_data          deletion protection for the table, and data kept when the stack goes
    endpoints             interface endpoints beside those that the functions' calls need; each costs by the hour and
                          zone (``cfn.calls.EXTRA_ENDPOINTS``)
    alarm_topic           the ARN of an existing SNS topic for alarms; "" makes one
    alarm_subscriptions, alert_subscriptions
                          subscribers to alarms, and to flagged transactions: e-mail addresses, https URLs, or the ARNs
                          of queues and functions
    dashboard             whether there is a CloudWatch dashboard; None: if data is protected
    release               how a new image takes over: "AllAtOnce", or a CodeDeploy preference such as
                          "LambdaCanary10Percent5Minutes"
    """

    environment: str
    architecture: Architecture = Architecture.ARM64
    project: str = ""
    workflow: str | None = TRANSACTIONS
    own_workflow: OwnWorkflow | None = None
    resources: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    entrances: tuple[Entrance, ...] = ()
    queue_fifo: bool = False
    jwt: Jwt | None = None
    transactions_per_minute: int = 10_000
    burst: float = 3.0
    reserved_concurrency: int | None = None
    find_lost_claims: bool = False
    encryption: str = "AES256"
    table_class: str = "STANDARD"
    protect_data: bool = False
    log_retention_days: int = 30
    zones: int = 3
    vpc_cidr: str = "10.20.0.0/20"
    endpoints: tuple[str, ...] = ()
    alarm_topic: str = ""
    alarm_subscriptions: tuple[str, ...] = ()
    alert_subscriptions: tuple[str, ...] = ()
    dashboard: bool | None = None
    release: str = "AllAtOnce"
    tags: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        Names(self.environment, self.project)
        if self.encryption not in ("AES256", "KMS"):
            raise SettingsError(
                f"the encryption {self.encryption!r} cannot be used",
                "ECR knows AES256 and KMS",
                "Choose one of them.",
            )

    @property
    def names(self) -> Names:
        return Names(self.environment, self.project)

    @property
    def has_transactions(self) -> bool:
        """Whether the stack has the transaction pipeline."""
        return self.workflow == TRANSACTIONS

    @property
    def has_dashboard(self) -> bool:
        return self.protect_data if self.dashboard is None else self.dashboard

    def in_vpc(self, function: FunctionDefinition) -> bool:
        """Whether a function runs in a VPC: its own setting, else True with the transaction pipeline."""
        return self.has_transactions if function.vpc is None else function.vpc
