"""A SAM template as a project: values that the command writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from cfn_flip import dump_yaml

from cfn.events.judging import BUCKET_MAX
from cfn.events.pushed import bucket_id
from cfn.names import pascal_case
from pipeline.sam.sam_functions import FunctionProject, read_function
from pipeline.sam.sam_images import Built, judge_dockerfile
from pipeline.sam.sam_resources import carry_over, plain_resources
from pipeline.sam.sam_template import Template, refused
from pipeline.sam.sam_values import Note, Values, shown_json

NOTES_FILE = "from-sam.md"
# With the project's and an environment's name, a function's name has at most 64 characters.
_NAME_MAX = 30


@dataclass(frozen=True, slots=True)
class Folder:
    """A function's folder.

    text        ``function.toml``
    dockerfile  of a function that an engine builds; None: it is built without one, or its image exists
    """

    project: FunctionProject
    text: str
    built: Built
    dockerfile: str | None

    @property
    def name(self) -> str:
        return self.project.name


@dataclass(frozen=True, slots=True)
class SamProject:
    """resources: ``resources.yaml``, "" for none. defaults: keys of ``environments.toml``."""

    folders: tuple[Folder, ...]
    resources: str
    defaults: Mapping[str, Any]
    notes: tuple[Note, ...]


def import_template(template: Template) -> SamProject:
    """What the template's image functions and other resources are in a project, with a note for everything else.

    Raises SettingsError for a template that is nested too deep.
    """
    try:
        return _imported(template)
    except RecursionError as problem:
        raise refused(f"{template.path} cannot be used: it is nested too deep") from problem


def _imported(template: Template) -> SamProject:
    names = _names([each.logical_id for each in template.functions])
    candidates = plain_resources(template)
    buckets = {name: bucket for name, bucket in _listened(template).items() if name in candidates}
    ids: dict[str, str] = {}
    for logical_id, name in names.items():
        stem = pascal_case(name)
        ids |= {
            logical_id: f"{stem}Function",
            f"{logical_id}Role": f"{stem}Role",
            f"{logical_id}.Alias": f"{stem}Alias",
        }
    ids |= {name: bucket_id(bucket) for name, bucket in buckets.items()}
    left = {
        name: Note(name, f"the event's own bucket takes its place: {bucket_id(bucket)}",
                   f"Move its objects there. Its properties are not carried over: {shown_json(candidates[name])}.")
        for name, bucket in buckets.items()
    }  # fmt: skip
    own = carry_over(template, candidates, ids, left)
    types = {name: str(each["Type"]) for name, each in own.sections.get("Resources", {}).items()}
    parameters = {
        name: each["Default"]
        for name, each in template.sections.get("Parameters", {}).items()
        if "Default" in each and not str(each.get("Type", "")).startswith("AWS::SSM::")
    }
    values = Values(parameters, {name: name for name in types})
    settings = template.sections.get("Globals", {})
    functions = [
        read_function(each, names[each.logical_id], values, types=types, buckets=buckets, settings=settings)
        for each in template.functions
    ]
    defaults, notes = _defaults(functions)
    folders = _folders(functions, defaults, notes)
    notes += [
        Note(f"Parameters.{name}", f"function.toml has its default, {shown_json(parameters[name])}",
             "Write what differs into [environments.NAME] and [environments.NAME.environment].")
        for name in sorted(values.taken)
    ]  # fmt: skip
    resources = dump_yaml(dict(own.sections)) if own.sections else ""
    return SamProject(
        tuple(folders),
        str(resources),
        defaults,
        (*(note for each in functions for note in each.notes), *own.notes, *notes),
    )


def notes_text(source: str, project: SamProject) -> str:
    """The page of what is left to do by hand."""
    rows = [f"- `{note.place}`: {note.why}\n  {note.do}" for note in project.notes]
    made = []
    for each in project.folders:
        how = f"handler `{each.built.handler}`" if each.built.handler else "by a container engine"
        how = "an image that exists" if each.project.source.context is None else how
        why = f" ({each.built.why})" if each.built.why else ""
        made.append(f"- `{each.project.source.logical_id}` → `images/{each.name}`: {how}{why}")
    return "\n".join(
        [
            f"# From {source}",
            "",
            "Functions:",
            "",
            *made,
            "",
            "Not carried over as it was:",
            "",
            *(rows or ["- nothing"]),
            "",
        ]
    )


def _names(logical_ids: Sequence[str]) -> dict[str, str]:
    """The folders' names by logical id: ``HelloWorldFunction`` → ``hello-world``."""
    names: dict[str, str] = {}
    for logical_id in logical_ids:
        name = kebab_case(re.sub(r"(?<=.)Function$", "", logical_id))[:_NAME_MAX].strip("-")
        taken, number = {pascal_case(each) for each in names.values()}, 2
        chosen = name
        while pascal_case(chosen) in taken:
            chosen, number = f"{name[: _NAME_MAX - 3]}-{number}", number + 1
        names[logical_id] = chosen
    return names


def kebab_case(text: str) -> str:
    """A logical id as a name of words.

    >>> kebab_case("HelloWorld"), kebab_case("SQSPayloadLogger"), kebab_case("S3Copy"), kebab_case("9a")
    ('hello-world', 'sqs-payload-logger', 's3-copy', 'f-9a')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", text).lower()
    words = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "function"
    return words if words[0].isalpha() else f"f-{words}"


def _listened(template: Template) -> dict[str, str]:
    """The names that events have for the buckets that they listen to, by the logical id of the bucket."""
    found: dict[str, str] = {}
    for function in template.functions:
        events = function.properties.get("Events", {})
        for event in events.values() if isinstance(events, dict) else []:
            properties = event.get("Properties") if isinstance(event, dict) else None
            bucket = properties.get("Bucket") if isinstance(properties, dict) and event.get("Type") == "S3" else None
            if isinstance(bucket, dict) and isinstance(name := bucket.get("Ref"), str):
                short = kebab_case(re.sub(r"(?<=.)Bucket$", "", name))[:BUCKET_MAX].strip("-")
                if short not in found.values():
                    found.setdefault(name, short)
    return found


def _defaults(functions: Sequence[FunctionProject]) -> tuple[dict[str, Any], list[Note]]:
    """The settings of all functions together, and a note for each function that asked for others."""
    defaults: dict[str, Any] = {"architecture": functions[0].architecture}
    notes: list[Note] = []
    for each in functions:
        place = each.source.logical_id
        if each.architecture != defaults["architecture"]:
            why = f"{defaults['architecture']} instead of {each.architecture}"
            do = "A project has one architecture: architecture in environments.toml."
            notes.append(Note(f"{place}.Architectures", why, do))
        for key, value in each.environment.items():
            if defaults.setdefault(key, value) != value:
                why = f"{key} {shown_json(defaults[key])} instead of {shown_json(value)}"
                do = "A project has one network: subnets and security_groups in environments.toml."
                notes.append(Note(f"{place}.VpcConfig", why, do))
    return defaults, notes


def _folders(functions: Sequence[FunctionProject], defaults: dict[str, Any], notes: list[Note]) -> list[Folder]:
    """The folders; the Python of the first function that is built without an engine is that of all."""
    folders = []
    for each in functions:
        if each.source.context is None:
            image = {"image": each.source.properties["ImageUri"]}
            folders.append(Folder(each, tomli_w.dumps({**image, **each.manifest}), Built(), None))
            if each.image:
                why = f"{shown_json(each.image)} is not carried over"
                do = "An image that exists has its own command; build one that has this."
                notes.append(Note(f"{each.source.logical_id}.ImageConfig", why, do))
            continue
        built = _built(each, each.source.context, defaults.get("python"))
        if built.handler:
            defaults["python"] = str(built.python)
            folders.append(Folder(each, tomli_w.dumps({"handler": built.handler, **each.manifest}), built, None))
        else:
            dockerfile = _with_config(each.source.dockerfile, each.image)
            folders.append(Folder(each, tomli_w.dumps(each.manifest), built, dockerfile))
    return folders


def _built(function: FunctionProject, context: Path, python: str | None) -> Built:
    command = function.image.get("Command", [])
    if len(command) > 1 or set(function.image) - {"Command"}:
        return Built(why="its ImageConfig has more than a handler")
    built = judge_dockerfile(context, function.source.dockerfile, *command)
    if built.python is not None and python not in (None, str(built.python)):
        return Built(why=f"it has Python {built.python}, and the project has {python}")
    return built


def _with_config(text: str, image: Mapping[str, Any]) -> str:
    """A Dockerfile whose last lines are what ``ImageConfig`` sets for Lambda."""
    lines = []
    for key, instruction in (("WorkingDirectory", "WORKDIR"), ("EntryPoint", "ENTRYPOINT"), ("Command", "CMD")):
        if key in image:
            value = image[key]
            lines.append(f"{instruction} {value if isinstance(value, str) else json.dumps(value)}")
    if not lines:
        return text
    return text.rstrip() + "\n\n# Of ImageConfig in the SAM template.\n" + "\n".join(lines) + "\n"
