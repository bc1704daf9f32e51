"""One function of a SAM template as ``function.toml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import tomli_w

from cfn.events.judging import event_findings
from cfn.settings import FunctionDefinition
from cfn.validation import OWN_VARIABLES
from pipeline.assembly.manifest import Manifest, judge_manifest
from pipeline.sam.sam_events import Events
from pipeline.sam.sam_policies import read_policies
from pipeline.sam.sam_template import ImageFunction
from pipeline.sam.sam_values import Note, Unknown, Values, function_of, shown_json

# SAM's own defaults are Lambda's, and not those of function.toml.
_MEMORY, _TIMEOUT = 128, 3
_HTTP_TIMEOUT_MAX = 30
# What has another place in a project, or none.
_BY_HAND = {
    "AutoPublishAlias": "Nothing: every function has the alias live, which a release moves.",
    "DeadLetterQueue": "Nothing: a function with events gets a queue for what fails (docs/functions.md).",
    "DeploymentPreference": 'Write its type into environments.toml, as release = "LambdaCanary10Percent5Minutes".',
    "FileSystemConfigs": "There are no file systems; keep such a function where it is.",
    "FunctionName": "Nothing, or change callers: names are PROJECT-FUNCTION-ENVIRONMENT.",
    "Layers": "Nothing: an image has no layers of Lambda; put their files into the function's folder.",
    "PermissionsBoundary": "There is none; put one on the deploying role (docs/permissions.md).",
    "Role": "Write what the function calls into [[calls]]; each function has a role of its own.",
    "Tags": "Write them into environments.toml, as tags, for all of an environment.",
    "VersionDescription": "Nothing: versions describe their image.",
    "RolePath": "Nothing: roles have the path of their stack.",
}
# Of a zip file, which an image has itself.
_WITHOUT_EFFECT = ("CodeUri", "Handler", "ImageUri", "PackageType", "Runtime")
_OTHERWISE = "There is no such key in function.toml; docs/functions.md has all of them."


@dataclass(slots=True)
class FunctionProject:
    """What becomes of a function.

    manifest     the keys of ``function.toml``, without those of the image
    image        of ``ImageConfig``: command, entry point and working directory, where they are given
    environment  keys of ``environments.toml`` that it asks for
    """

    name: str
    source: ImageFunction
    architecture: str = "x86_64"
    manifest: dict[str, Any] = field(default_factory=dict)
    image: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


def read_function(
    source: ImageFunction, name: str, values: Values, *, types: Mapping[str, str], buckets: Mapping[str, str],
    settings: Mapping[str, Any],
) -> FunctionProject:  # fmt: skip
    """The function in a project.

    types     of the own resources, by logical id
    buckets   logical ids of buckets that events listen to → their names here
    settings  ``Globals``
    """
    project = FunctionProject(name, source)
    reading = _Reading(project, dict(source.properties), values)
    reading.copy("Description", "description", str)
    reading.copy("MemorySize", "memory", int, _MEMORY)
    reading.copy("Timeout", "timeout", int, _TIMEOUT)
    reading.copy("EphemeralStorage", "ephemeral_storage", lambda value: int(value["Size"]))
    reading.copy("ReservedConcurrentExecutions", "reserved_concurrency", int)
    reading.copy(
        "ProvisionedConcurrencyConfig",
        "provisioned_concurrency",
        lambda value: int(value["ProvisionedConcurrentExecutions"]),
    )
    reading.copy("Tracing", "tracing", lambda value: str(value) == "Active")
    reading.copy("Architectures", "", lambda value: setattr(project, "architecture", str(value[0])))
    reading.copy("ImageConfig", "", lambda value: project.image.update(_image_config(value)))
    reading.copy("EventInvokeConfig", "", reading.invoke_config)
    reading.copy("VpcConfig", "", reading.network)
    reading.variables()
    policies, notes = read_policies(reading.properties.pop("Policies", []), values, types)
    project.notes += [Note(f"{source.logical_id}.{place}", f"not carried over: {why}", do) for place, why, do in notes]
    if policies:
        project.manifest["calls"] = policies
    events = Events(values, buckets, settings)
    declared = reading.properties.pop("Events", {})
    for key, event in declared.items() if isinstance(declared, dict) else [("", None)]:
        events.read(f"{source.logical_id}.Events.{key}", event)
    reading.copy("FunctionUrlConfig", "", lambda value: events.found.append(reading.url(value)))
    project.notes += events.notes
    for key in _WITHOUT_EFFECT:
        reading.properties.pop(key, None)
    for key, value in reading.properties.items():
        reading.note(key, f"{shown_json(value)} is not carried over", _BY_HAND.get(key, _OTHERWISE))
    _keep_possible(project, events.found, types)
    _read_attributes(project)
    return project


@dataclass(slots=True)
class _Reading:
    project: FunctionProject
    properties: dict[str, Any]
    values: Values

    def note(self, key: str, why: str, do: str) -> None:
        self.project.notes.append(Note(f"{self.project.source.logical_id}.{key}", why, do))

    def copy(self, key: str, name: str, convert: Callable[[Any], Any], default: Any = None) -> None:
        """A property as ``name`` of function.toml; "" leaves that to ``convert``."""
        value = self.properties.pop(key, default)
        if value is None:
            return
        try:
            converted = convert(self.values.plain(value))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as problem:
            why = str(problem) if isinstance(problem, Unknown) else "it is not written as SAM documents it"
            self.note(key, f"not carried over: {why}", f"Write {name or key} by hand; docs/functions.md has the keys.")
            return
        if name:
            self.project.manifest[name] = converted

    def invoke_config(self, value: Mapping[str, Any]) -> None:
        rest = dict(value)
        for key, name in (("MaximumRetryAttempts", "retries"), ("MaximumEventAgeInSeconds", "maximum_age")):
            if key in rest:
                self.project.manifest[name] = int(rest.pop(key))
        for key, each in rest.items():
            self.note(f"EventInvokeConfig.{key}", f"{shown_json(each)} is not carried over",
                      _BY_HAND["DeadLetterQueue"])  # fmt: skip

    def network(self, value: Mapping[str, Any]) -> None:
        self.project.manifest["vpc"] = True
        keys = {"SubnetIds": "subnets", "SecurityGroupIds": "security_groups"}
        ids = {name: value[key] for key, name in keys.items()}
        if not all(isinstance(each, str) for found in ids.values() for each in found):
            raise Unknown("its subnets and security groups are not written out")
        self.project.environment.update(ids)

    def url(self, value: Mapping[str, Any]) -> dict[str, Any]:
        for key in sorted(set(value) - {"AuthType"}):
            self.note(f"FunctionUrlConfig.{key}", f"{shown_json(value[key])} is not carried over", _OTHERWISE)
        return {"type": "url", "auth": "none" if value["AuthType"] == "NONE" else "iam"}

    def variables(self) -> None:
        declared = self.properties.pop("Environment", {})
        found = declared.get("Variables") if isinstance(declared, dict) else None
        if declared == {}:
            return
        if not isinstance(found, dict) or function_of(found) or len(declared) > 1:
            self.note("Environment", "it is not written as SAM documents it", "Write [environment] in function.toml.")
            return
        for name, value in found.items():
            place = f"Environment.Variables.{name}"
            if name in OWN_VARIABLES or str(name).startswith("AWS_"):
                self.note(place, "the stack sets it", "Choose another name if the function needs this value.")
                continue
            try:
                self.project.manifest.setdefault("environment", {})[str(name)] = self.values.text(value)
            except Unknown as problem:
                self.note(place, f"not carried over: {problem}", f"Write {name} into [environment] of function.toml.")


def _image_config(value: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("Command", "EntryPoint"):
        if not isinstance(value.get(key, []), list) or not all(isinstance(each, str) for each in value.get(key, [])):
            raise ValueError(key)
    if not isinstance(place := value.get("WorkingDirectory", ""), str) or "\n" in place:
        raise ValueError("WorkingDirectory")
    return {key: value[key] for key in value if value[key]}


def _keep_possible(project: FunctionProject, events: list[dict[str, Any]], types: Mapping[str, str]) -> None:
    """Keep what ``function.toml`` takes; the rest becomes notes."""
    manifest, place = project.manifest, project.source.logical_id
    if any(each["type"] == "http" for each in events) and manifest.get("timeout", 0) > _HTTP_TIMEOUT_MAX:
        why = f"{_HTTP_TIMEOUT_MAX} s instead of {manifest['timeout']} s: API Gateway waits no longer"
        project.notes.append(Note(f"{place}.Timeout", why, "Give what takes longer a function with another event."))
        manifest["timeout"] = _HTTP_TIMEOUT_MAX
    variables = manifest.pop("environment", {})
    parts = [
        *((key, {key: each}) for key, each in manifest.items() if key != "calls"),
        *(("calls", {"calls": [each]}) for each in manifest.pop("calls", [])),
        *((f"Environment.Variables.{name}", {"environment": {name: each}}) for name, each in variables.items()),
    ]
    for key, part in parts:
        if wrong := _refusals(part, types):
            project.notes.append(_left_out(f"{place}.{key}", wrong, part))
            if "calls" not in part:
                manifest.pop(key, None)
        elif "calls" in part:
            manifest.setdefault("calls", []).extend(part["calls"])
        elif "environment" in part:
            manifest.setdefault("environment", {}).update(part["environment"])
    kept: list[dict[str, Any]] = []
    for event in events:
        if wrong := _refusals({"timeout": manifest.get("timeout", _TIMEOUT), "events": [*kept, event]}, types):
            project.notes.append(_left_out(f"{place}.Events", wrong, event))
        else:
            kept.append(event)
    if kept:
        manifest["events"] = kept


def _left_out(place: str, why: list[str], value: Mapping[str, Any]) -> Note:
    shown = shown_json(value)
    return Note(place, f"not carried over: {'; '.join(why)}", f"Correct {shown}, and write it into function.toml.")


def _refusals(keys: Mapping[str, Any], types: Mapping[str, str]) -> list[str]:
    """Why ``function.toml`` does not take some keys."""
    try:
        tomli_w.dumps(keys)
        manifest = msgspec.convert({"handler": "a.b", **keys}, Manifest)
    except TypeError:
        return ["it has null, which TOML does not have"]
    except msgspec.ValidationError as problem:
        return [str(problem)]
    function = FunctionDefinition("function", timeout=manifest.timeout, events=tuple(_named(manifest, types)))
    return [*judge_manifest(manifest), *event_findings(function)]


def _named(manifest: Manifest, types: Mapping[str, str]) -> list[Any]:
    """The events with own resources as the references that they become."""
    found = []
    for event in manifest.events:
        for key in ("queue", "topic", "stream"):
            if getattr(event, key, "") in types:
                event = msgspec.structs.replace(event, **{key: f"${{{getattr(event, key)}}}"})
        found.append(event)
    return found


def _read_attributes(project: FunctionProject) -> None:
    attributes = dict(project.source.attributes)
    metadata = dict(attributes.pop("Metadata", {}))
    for key in ("Dockerfile", "DockerContext", "DockerTag"):  # an image is named by its digest
        metadata.pop(key, None)
    for key, value in {**attributes, **{f"Metadata.{key}": each for key, each in metadata.items()}}.items():
        do = {
            "Metadata.DockerBuildArgs": "Write the values into the Dockerfile, as the defaults of ARG.",
            "Metadata.DockerBuildTarget": "Let the stage be the last one in the Dockerfile.",
            "Condition": "Deploy the function in each environment, or remove its folder.",
            "DependsOn": "Nothing, if the function names the resource in calls, events or variables.",
        }.get(key, _OTHERWISE)
        project.notes.append(Note(f"{project.source.logical_id}.{key}", f"{shown_json(value)} is not carried over", do))
