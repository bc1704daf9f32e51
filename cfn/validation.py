"""Validate settings and functions before anything is sent to AWS; reports all findings at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cfn.calls import EXTRA_ENDPOINTS, PSEUDO_PARAMETERS, RESOURCES, action_prefix
from cfn.events.judging import event_findings, shared_findings
from cfn.events.kinds import Route
from cfn.names import image_parameter, pascal_case
from cfn.problems import SettingsError
from cfn.settings import Call, Entrance, FunctionDefinition, Jwt, Settings
from cfn.workflow.limits import CALLED_FUNCTIONS

# Beyond these a mistyped number is likelier than such a load.
LOAD_MAX = 1_000_000
BURST_MAX = 20
RESERVED_MAX = 100_000
# What a call of a project with its own workflow can name.
_OF_OWN_WORKFLOW = {"state-machine": "states"}
# CloudFormation takes 50 tags for a stack; the rest is what all services take (AWS documentation, "Tag naming limits").
TAGS_MAX = 49
_TAG = re.compile(r"[\w\s+\-=._:/@]*")
_TAG_CHARACTERS = "letters, digits, spaces and + - = . _ : / @"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_ACTION = re.compile(r"[A-Z][A-Za-z0-9]+")
_SECRET = re.compile(r"(?:secretsmanager|ssm):[A-Za-z0-9/_+=.@-]+")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
# ARN format (IAM user guide, "Identify AWS resources with ARNs"); the partition may be a pseudo parameter.
_ARN = re.compile(r"arn:(?:aws[a-z-]*|\$\{AWS::Partition\}|\*):[a-z0-9-]+:[^:\s]*(?:::[^:\s]*)*:[^\s]+")
_TOPIC = re.compile(r"arn:aws:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}")
# API_Subscribe: the protocols that send text as it is. Texts and mobile pushes are not for alarms.
# OpenID Connect Discovery 1.0, 3; RFC 6749, 3.3.
_ISSUER = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,256}")
# API Gateway quotas, "Quotas for configuring and running an HTTP API".
AUDIENCES_MAX, SCOPES_MAX = 50, 10
ISSUER_MAX = 2048
_ENDPOINT = re.compile(
    r"[^@\s]+@[^@\s]+\.[^@\s]+|https://[^\s]+|arn:aws:(sqs:[a-z0-9-]+:[0-9]{12}:|lambda:[a-z0-9-]+:[0-9]{12}:function:)[\w:-]+"
)
# What the stack sets itself; a function's own variables must not hide them.
OWN_VARIABLES = (
    "ENVIRONMENT",
    "TABLE_NAME",
    "STATE_MACHINE_ARN",
    "RESULT_TOPIC_ARN",
    "IMAGE_DIGEST",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
)


# Entrances that are one function of the project, behind an API or a queue.
OF_ONE_FUNCTION = (Entrance.HTTP, Entrance.QUEUE)

# CloudFormation schema of AWS::Logs::LogGroup, RetentionInDays.
_RETENTIONS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

# API_CreateTable, TableClass; the first is the default.
TABLE_CLASSES = ("STANDARD", "STANDARD_INFREQUENT_ACCESS")

ALL_AT_ONCE = "AllAtOnce"
# CodeDeploy user guide, "Predefined deployment configurations for an AWS Lambda compute platform".
SHIFTING = (
    *(f"LambdaCanary10Percent{minutes}Minutes" for minutes in (5, 10, 15, 30)),
    "LambdaLinear10PercentEvery1Minute",
    *(f"LambdaLinear10PercentEvery{minutes}Minutes" for minutes in (2, 3, 10)),
)


def check_settings(settings: Settings) -> None:
    """Raises SettingsError with all findings in the settings, except those of the network (cfn.network)."""
    findings = []
    if settings.release not in (ALL_AT_ONCE, *SHIFTING):
        known = ", ".join((ALL_AT_ONCE, *SHIFTING))
        findings.append(f"release is {settings.release!r} and CodeDeploy has {known}")
    if unknown := sorted(set(settings.endpoints) - set(EXTRA_ENDPOINTS)):
        findings.append(f"endpoints has {', '.join(unknown)} and there are {', '.join(EXTRA_ENDPOINTS)}")
    if settings.log_retention_days not in _RETENTIONS:
        known = ", ".join(map(str, _RETENTIONS))
        findings.append(f"log_retention_days is {settings.log_retention_days} and CloudWatch Logs has {known}")
    if not 1 <= settings.transactions_per_minute <= LOAD_MAX:
        findings.append(f"transactions_per_minute is {settings.transactions_per_minute} and can be 1 to {LOAD_MAX:,}")
    if not 1 <= settings.burst <= BURST_MAX:
        findings.append(f"burst is {settings.burst:g} and can be 1 to {BURST_MAX}")
    if settings.reserved_concurrency is not None and not 0 <= settings.reserved_concurrency <= RESERVED_MAX:
        findings.append(f"reserved_concurrency is {settings.reserved_concurrency} and can be 0 to {RESERVED_MAX:,}")
    findings += _entrance_findings(settings)
    if settings.table_class not in TABLE_CLASSES:
        findings.append(f"table_class is {settings.table_class[:80]!a} and DynamoDB has {' and '.join(TABLE_CLASSES)}")
    if settings.table_class != TABLE_CLASSES[0] and not settings.has_transactions:
        findings.append("table_class is for the table of transactions, and the project has no transactions")
    if settings.find_lost_claims and not settings.has_transactions:
        findings.append("find_lost_claims is for claims of transactions, and the project has no transactions")
    findings += _network_findings(settings)
    findings += _topic_findings(settings)
    findings += _tag_findings(settings.tags)
    if findings:
        raise SettingsError(
            f"the settings of {settings.environment} cannot be used", "; ".join(findings), "Correct them."
        )


def _entrance_findings(settings: Settings) -> Iterator[str]:
    if settings.entrances and not settings.has_transactions:
        yield "entrances are those of the transaction pipeline, and the project has no transactions"
    if len(set(settings.entrances)) < len(settings.entrances):
        yield "entrances has an entrance twice"
    if settings.jwt is not None:
        yield from _jwt_findings(settings.jwt)
    if settings.queue_fifo and Entrance.QUEUE not in settings.entrances:
        yield f"queue_fifo is for the entrance {Entrance.QUEUE}, and entrances does not have it"


def _jwt_findings(jwt: Jwt) -> Iterator[str]:
    if not _ISSUER.fullmatch(jwt.issuer) or len(jwt.issuer) > ISSUER_MAX:
        yield f"the issuer of jwt is {jwt.issuer[:200]!a} and an issuer is an https URL without query and fragment"
    if not 1 <= len(jwt.audience) <= AUDIENCES_MAX:
        yield f"jwt has {len(jwt.audience)} audiences and API Gateway takes 1 to {AUDIENCES_MAX}"
    if len(jwt.scopes) > SCOPES_MAX:
        yield f"jwt has {len(jwt.scopes)} scopes and API Gateway takes {SCOPES_MAX} for a route"
    if wrong := [each for each in jwt.audience if not re.fullmatch(r"[!-~]{1,256}", each)]:
        yield f"an audience of jwt is {wrong[0][:80]!a} and an audience is visible ASCII without spaces"
    if wrong := [each for each in jwt.scopes if not _SCOPE.fullmatch(each)]:
        yield f"a scope of jwt is {wrong[0][:80]!a} and a scope is visible ASCII without spaces, quotes and backslashes"


def _network_findings(settings: Settings) -> Iterator[str]:
    for name, ids, prefix, most in (
        ("subnets", settings.subnets, "subnet", 16),
        ("security_groups", settings.security_groups, "sg", 5),
    ):
        if wrong := [each for each in ids if not re.fullmatch(rf"{prefix}-[0-9a-f]{{8,17}}", each)]:
            yield f"{name} has {', '.join(ascii(each[:40]) for each in wrong)} and an id is {prefix}-0123456789abcdef0"
        if len(ids) > most:
            yield f"{name} has {len(ids)} ids and Lambda takes {most}"
    if bool(settings.subnets) != bool(settings.security_groups):
        yield "subnets and security_groups name an existing network only together"


def _topic_findings(settings: Settings) -> Iterator[str]:
    if settings.alarm_topic and not _TOPIC.fullmatch(settings.alarm_topic):
        yield f"alarm_topic is {settings.alarm_topic[:200]!a} and a topic is arn:aws:sns:eu-west-1:123456789012:name"
    if settings.alarm_topic and settings.alarm_subscriptions:
        yield "alarm_subscriptions are those of the stack's own topic, and alarm_topic names another"
    if settings.alert_subscriptions and not settings.has_transactions:
        yield "alert_subscriptions are for flagged transactions, and the project has no transactions"
    for name in ("alarm_subscriptions", "alert_subscriptions"):
        endpoints: tuple[str, ...] = getattr(settings, name)
        for endpoint in endpoints:
            if not _ENDPOINT.fullmatch(endpoint):
                yield (
                    f"{name} has {endpoint[:200]!a}; it can have e-mail addresses, https URLs, and the ARNs of queues"
                    " and functions"
                )
        if len(set(endpoints)) < len(endpoints):
            yield f"{name} has an endpoint twice"


def _tag_findings(tags: Sequence[tuple[str, str]]) -> Iterator[str]:
    if len(tags) > TAGS_MAX:
        yield f"there are {len(tags)} tags and can be {TAGS_MAX}: a stack has 50, one of which is the environment's"
    for key, value in tags:
        if key.lower().startswith("aws:"):
            yield f"the tag {key!a} begins with aws:, which AWS keeps for itself"
        elif not 1 <= len(key) <= 128 or not _TAG.fullmatch(key):
            yield f"the tag {key[:140]!a} is not 1 to 128 {_TAG_CHARACTERS}"
        if len(value) > 256 or not _TAG.fullmatch(value):
            yield f"the value {value[:270]!a} of the tag {key[:140]!a} is not up to 256 {_TAG_CHARACTERS}"


def check_functions(settings: Settings, functions: Sequence[FunctionDefinition]) -> None:
    """Raises SettingsError with all findings in a set of functions."""
    findings = [finding for function in functions for finding in _findings(settings, function)]
    stems: dict[str, str] = {}
    for function in functions:
        other = stems.setdefault(pascal_case(function.name), function.name)
        if other == function.name and [each.name for each in functions].count(other) > 1:
            findings.append(f"{other} is there more than once")
        elif other != function.name:
            findings.append(f"{function.name} and {other} have one parameter, {image_parameter(other)}")
    findings += shared_findings(functions)
    findings += _token_findings(settings, functions)
    for entrance in settings.entrances:
        if entrance in OF_ONE_FUNCTION and [each.entrance for each in functions].count(entrance) != 1:
            findings.append(f'entrances has {entrance}, so one folder declares entrance = "{entrance}"')
    if findings:
        raise SettingsError(
            "the templates cannot be made",
            "; ".join(dict.fromkeys(findings)),
            "Correct the folders under images/ and their function.toml.",
        )


def _token_findings(settings: Settings, functions: Sequence[FunctionDefinition]) -> Iterator[str]:
    routes = [
        (function.name, event)
        for function in functions
        for event in function.events
        if isinstance(event, Route) and event.auth == "jwt"
    ]
    if settings.jwt is not None and not routes and Entrance.HTTP not in settings.entrances:
        yield f'jwt is for routes of auth = "jwt" and the entrance {Entrance.HTTP}, and {settings.environment} has none'
    if settings.jwt is None:
        for name, event in routes:
            yield f'the route {event.route} of {name} has auth = "jwt", and {settings.environment} has no setting jwt'


def _findings(settings: Settings, function: FunctionDefinition) -> Iterator[str]:
    name = function.name
    if not _NAME.fullmatch(name):
        yield f"the function {name!r} is not named in a-z, 0-9 and single hyphens, starting with a letter"
    full_name = settings.names.function(name)
    if len(full_name) > 64:
        yield f"{full_name} has {len(full_name)} characters and Lambda takes at most 64 in a function's name"
    if not 128 <= function.memory <= 10_240:
        yield f"{name} wants {function.memory} MB of memory and Lambda gives 128 to 10240"
    if not 1 <= function.timeout <= 900:
        yield f"{name} wants {function.timeout} s and Lambda gives 1 to 900"
    if len(function.description) > 256:
        yield f"the description of {name} has {len(function.description)} characters and Lambda takes 256"
    for variable, _value in function.environment:
        if variable in OWN_VARIABLES or variable.startswith("AWS_") or not _VARIABLE.fullmatch(variable):
            yield f"{name} sets the variable {variable!r}, which is reserved or not a name"
    size = sum(len(variable.encode()) + len(value.encode()) for variable, value in function.environment)
    if size > 3_072:
        yield f"the variables of {name} have {size} bytes and Lambda takes 4096 with those that the stack sets"
    for call in function.calls:
        yield from call_findings(settings, name, call)
    yield from _concurrency_findings(settings, function)
    for variable, reference in function.secrets:
        if not _SECRET.fullmatch(reference):
            yield f"the secret {variable} of {name} is {reference[:80]!a}; write secretsmanager:NAME or ssm:NAME"
    yield from event_findings(function)


def call_findings(settings: Settings, name: str, call: Call) -> Iterator[str]:
    """What is wrong with a call of ``name``, whose logical ids are resolved (``cfn.own_resources``)."""
    known = RESOURCES if settings.has_transactions else _OF_OWN_WORKFLOW if settings.own_workflow else {}
    if Entrance.QUEUE not in settings.entrances:
        known = {name: service for name, service in known.items() if name != "result-topic"}
    service = known.get(call.resource)
    if call.resource.startswith("arn:"):
        yield from _arn_findings(name, call.resource)
    elif service is None and call.resource != "*" and not call.resource.startswith("${"):
        choices = [*known, "a logical id of resources.yaml", "an ARN or *"]
        yield f"{name} calls the resource {call.resource!r}; write {', '.join(choices)}"
    elif service is not None and service != action_prefix(call):
        yield f"{name} calls {call.service!r} on {call.resource}, which belongs to {service}"
    if not call.actions:
        yield f"{name} calls {call.resource} without an action"
    for action in call.actions:
        if not _ACTION.fullmatch(action):
            yield f"{name} calls the action {action!r}, which is not one plain action such as Query"


def _concurrency_findings(settings: Settings, function: FunctionDefinition) -> Iterator[str]:
    name, reserved, provisioned = function.name, function.reserved_concurrency, function.provisioned_concurrency
    if reserved is not None and settings.has_transactions and name in CALLED_FUNCTIONS:
        yield f"{name} reserves what its load needs: transactions_per_minute in environments.toml"
    if reserved is not None and provisioned > reserved:
        yield f"{name} provisions {provisioned} executions and reserves {reserved}, of which they are a part"


def _arn_findings(name: str, arn: str) -> Iterator[str]:
    if not _ARN.fullmatch(arn):
        yield f"{name} calls {arn[:200]!a}, which is not an ARN such as arn:aws:s3:::my-bucket/*"
    for reference in re.findall(r"\$\{([^}]*)\}", arn):
        if reference not in PSEUDO_PARAMETERS:
            known = ", ".join(f"${{{each}}}" for each in PSEUDO_PARAMETERS)
            yield f"{name} calls {arn}, where ${{{reference}}} stands for nothing; there are {known}"
