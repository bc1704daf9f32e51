"""``function.toml``: what a function is, in one definition that also gives the JSON schema for editors."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cfn.events.kinds import Event
from cfn.settings import DEFAULT_MILLISECONDS, Call, Entrance, FunctionDefinition
from pipeline.core.tables import convert, read_toml

MANIFEST = "function.toml"
_ACTION = re.compile(r"[A-Z][A-Za-z0-9]*\*?")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
# Reserved by Lambda (developer guide, "Defined runtime environment variables").
_RESERVED = frozenset(
    {
        *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV"),
        *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
        *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
    }
)
# Set on every function by the pipeline stack.
_OURS = frozenset(
    {"ENVIRONMENT", "TABLE_NAME", "STATE_MACHINE_ARN", "RESULT_TOPIC_ARN", "IMAGE_DIGEST", "POWERTOOLS_SERVICE_NAME"}
)
# All variables of a function together, in bytes (Lambda quotas).
_VARIABLES_MAX = 4096


class _Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Actions that the function calls. service is the name that boto3.client takes."""

    service: str
    actions: list[str]
    resource: str


def _number(low: int, high: int, text: str) -> Meta:
    """For the schema alone: a build names a wrong number in its own words, together with everything else."""
    return Meta(description=text, extra_json_schema={"minimum": low, "maximum": high})


_Memory = Annotated[int, _number(128, 10_240, "MB; 1,769 MB is one vCPU")]
_Timeout = Annotated[int, _number(1, 900, "Seconds")]
_Storage = Annotated[int, _number(512, 10_240, "MB of /tmp")]
_Reserved = Annotated[int, _number(0, 100_000, "Executions that only this function has, and no more")]
_Provisioned = Annotated[int, _number(0, 100_000, "Executions that are kept initialised")]
_Entrance = Annotated[Entrance, Meta(description="The entrance that it is a part of, which alone deploys it")]
_Variables = Annotated[dict[str, str], Meta(description="Variables")]
_Secrets = Annotated[
    dict[str, str],
    Meta(description="Variable: reference, as secretsmanager:NAME or ssm:NAME; the variable holds the name"),
]


class _InEnvironment(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What differs in one environment; variables and secrets are added to the function's."""

    memory: _Memory | None = None
    timeout: _Timeout | None = None
    milliseconds: int | None = None
    ephemeral_storage: _Storage | None = None
    reserved_concurrency: _Reserved | None = None
    provisioned_concurrency: _Provisioned | None = None
    tracing: bool | None = None
    environment: _Variables = {}
    secrets: _Secrets = {}


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What ``function.toml`` says."""

    handler: Annotated[str, Meta(description="Module and function, as handler.handle")] = ""
    image: Annotated[
        str,
        Meta(
            description="Instead of a handler: an existing image, as HOST/NAME@sha256:…, oci:DIR or docker-daemon:NAME"
        ),
    ] = ""
    code: Annotated[
        str, Meta(description="Another folder below images/ whose code and lock it runs, for several handlers of one")
    ] = ""
    description: str = ""
    memory: _Memory = 1769
    timeout: _Timeout = 60
    milliseconds: Annotated[
        int | None,
        Meta(
            description="Of one invocation under load, for cost and capacity; without it 100 for capacity, and no cost"
        ),
    ] = None
    vpc: Annotated[bool | None, Meta(description="Whether it runs in a VPC")] = None
    ephemeral_storage: _Storage = 512
    reserved_concurrency: _Reserved | None = None
    provisioned_concurrency: _Provisioned = 0
    retries: Annotated[int, _number(0, 2, "Attempts after the first, of an asynchronous event")] = 2
    maximum_age: Annotated[int, _number(60, 21_600, "Seconds after which an asynchronous event has failed")] = 21_600
    tracing: Annotated[bool, Meta(description="Whether X-Ray records its invocations")] = False
    calls: list[_Call] = []
    environment: _Variables = {}
    secrets: _Secrets = {}
    events: list[Event] = []
    entrance: _Entrance | None = None
    environments: dict[str, _InEnvironment] = {}


def read_manifest(path: Path) -> Manifest:
    """Read a ``function.toml``. Raises OSError, ValueError, and WrongTable with every wrong key and type."""
    return convert(read_toml(path), Manifest)


def json_schema() -> Mapping[str, Any]:
    """The JSON schema of ``function.toml``, for editors."""
    schema = msgspec.json.schema(Manifest)
    schema["$defs"][Manifest.__name__]["not"] = {"required": ["handler", "image"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": MANIFEST, **schema}


def definition_of(name: str, manifest: Manifest, environment: str) -> FunctionDefinition:
    """The function in an environment."""
    own = manifest.environments.get(environment, _InEnvironment())

    def chosen(key: str) -> Any:
        value = getattr(own, key)
        return getattr(manifest, key) if value is None else value

    milliseconds: int | None = chosen("milliseconds")
    return FunctionDefinition(
        name,
        manifest.description,
        chosen("memory"),
        chosen("timeout"),
        DEFAULT_MILLISECONDS if milliseconds is None else milliseconds,
        tuple(Call(call.service, tuple(call.actions), call.resource) for call in manifest.calls),
        tuple(sorted({**manifest.environment, **own.environment}.items())),
        manifest.vpc,
        ephemeral_storage=chosen("ephemeral_storage"),
        reserved_concurrency=chosen("reserved_concurrency"),
        provisioned_concurrency=chosen("provisioned_concurrency"),
        retries=manifest.retries,
        maximum_age=manifest.maximum_age,
        tracing=chosen("tracing"),
        secrets=tuple(sorted({**manifest.secrets, **own.secrets}.items())),
        events=tuple(manifest.events),
        entrance=manifest.entrance,
        duration_known=milliseconds is not None,
    )


def judge_manifest(manifest: Manifest) -> Iterator[str]:
    """Everything that is wrong with the values; ``cfn.validation`` judges what depends on the environment."""
    if manifest.handler and manifest.image:
        yield "it has a handler and an image; an image that exists already has its own command, so remove one of them"
    if manifest.code and not manifest.handler:
        yield f"it runs the code of {manifest.code!r} and names no handler in it"
    yield from _judge_numbers(manifest, "")
    if len(manifest.description) > 256:
        yield f"description has {len(manifest.description)} characters, Lambda takes 256"
    if not 0 <= manifest.retries <= 2:
        yield f"retries = {manifest.retries} is outside Lambda's 0 to 2"
    if not 60 <= manifest.maximum_age <= 21_600:
        yield f"maximum_age = {manifest.maximum_age} is outside Lambda's 60 to 21600 s"
    for call in manifest.calls:
        yield from _judge_call(call)
    yield from _judge_variables(manifest.environment, manifest.secrets, "")
    for name, own in manifest.environments.items():
        place = f"environments.{name}."
        yield from _judge_numbers(own, place)
        yield from _judge_variables({**manifest.environment, **own.environment}, own.secrets, place)


def _judge_numbers(manifest: Manifest | _InEnvironment, place: str) -> Iterator[str]:
    for name, low, high, unit in (
        ("memory", 128, 10_240, " MB"),
        ("timeout", 1, 900, " s"),
        ("ephemeral_storage", 512, 10_240, " MB"),
    ):
        value = getattr(manifest, name)
        if value is not None and not low <= value <= high:
            yield f"{place}{name} = {value} is outside Lambda's {low} to {high}{unit}"
    timeout, milliseconds = manifest.timeout, manifest.milliseconds
    if timeout is None or milliseconds is None or not 1 <= timeout <= 900:
        pass
    elif not 1 <= milliseconds <= timeout * 1000:
        yield f"{place}milliseconds = {milliseconds} is outside 1 and the timeout of {timeout} s"
    for name in ("reserved_concurrency", "provisioned_concurrency"):
        value = getattr(manifest, name)
        if value is not None and value < 0:
            yield f"{place}{name} = {value} is below 0"


def _judge_variables(variables: Mapping[str, str], secrets: Mapping[str, str], place: str) -> Iterator[str]:
    for name in (*variables, *secrets):
        where = f"[{place}{'secrets' if name in secrets else 'environment'}]"
        if not _VARIABLE.fullmatch(name):
            yield f"{where} {name!r} is no variable that Lambda takes (a letter, then letters, digits and _)"
        elif name in _RESERVED:
            yield f"{where} {name} is reserved by Lambda"
        elif name in _OURS:
            yield f"{where} {name} is set by the pipeline stack"
    for name in sorted(variables.keys() & secrets.keys()):
        yield f"[{place}secrets] {name} is a variable, too"
    size = sum(len(name.encode()) + len(value.encode()) for name, value in {**variables, **secrets}.items())
    if size > _VARIABLES_MAX:
        yield f"[{place}environment] has {size} bytes, Lambda takes {_VARIABLES_MAX}"


def _judge_call(call: _Call) -> Iterator[str]:
    known = known_services()
    if known and call.service not in known:
        close = difflib.get_close_matches(call.service, known, 1)
        hint = f"; did you mean {close[0]}?" if close else "; use the name that boto3.client() takes"
        yield f"[[calls]] names the unknown service {call.service!r}{hint}"
    if not call.actions:
        yield f"[[calls]] to {call.service} names no action"
    for action in call.actions:
        if not _ACTION.fullmatch(action):
            yield f'[[calls]] to {call.service} has the action {action!r}; write it like "PutItem"'
    if not call.resource:
        yield f"[[calls]] to {call.service} names no resource"


@cache
def known_services() -> frozenset[str]:
    """The services that botocore has data of, by the name ``boto3.client`` takes; empty without botocore."""
    found = importlib.util.find_spec("botocore")
    places = found.submodule_search_locations if found is not None else None
    data = Path(places[0]) / "data" if places else None
    if data is None or not data.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in data.iterdir() if "." not in entry.name)


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
