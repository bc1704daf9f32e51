"""A SAM template as it was parsed, with the globals of its image functions merged into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.files import read_regular
from pipeline.core.yaml_documents import parse_cloudformation

FUNCTION = "AWS::Serverless::Function"
_TRANSFORM = "AWS::Serverless-2016-10-31"
_WHAT = "no project was written"
_FILE_MAX = 1_000_000  # bytes, as a template of CloudFormation
_DOCKERFILE_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageFunction:
    """A function with ``PackageType: Image``.

    properties  with those of ``Globals`` in them
    attributes  the rest of the resource, such as its metadata
    context     the folder that its image is built from; None: ``ImageUri`` names an image that exists
    dockerfile  the text of the Dockerfile, which is in ``context`` or below it
    """

    logical_id: str
    properties: Mapping[str, Any]
    attributes: Mapping[str, Any]
    context: Path | None
    dockerfile: str


@dataclass(frozen=True, slots=True)
class Template:
    """sections: those of the file, of which Resources, Parameters and Outputs are tables of tables."""

    path: Path
    sections: Mapping[str, Any]
    functions: tuple[ImageFunction, ...]

    @property
    def resources(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.sections["Resources"]
        return found


def read_template(path: Path) -> Template:
    """Read a template. Raises SettingsError with every finding that makes it useless."""
    try:
        sections = parse_cloudformation(read_regular(path, _FILE_MAX).decode("utf-8"))
    except OSError as problem:
        raise refused(f"{path} cannot be read ({problem.strerror or problem})") from problem
    except ValueError as problem:
        raise refused(f"{path} is no template: {' '.join(str(problem).split())[:500]}") from problem
    if findings := [*_findings(sections)]:
        raise refused(f"{path} cannot be used: {'; '.join(findings)}")
    kinds = {name: _package_type(each, sections) for name, each in sections["Resources"].items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    if not images:
        zips = [name for name, kind in kinds.items() if kind == "Zip"]
        has = f"its functions are zip files: {', '.join(zips)[:300]}" if zips else "it has no function"
        raise SettingsError(
            _WHAT,
            f"{path} has no {FUNCTION} with PackageType: Image; {has}",
            "Take the code of one function with init --from FOLDER, or give it a Dockerfile and PackageType: Image.",
        )
    found: list[ImageFunction] = []
    problems: list[str] = []
    for name in images:
        try:
            found.append(_function(name, sections, path.parent))
        except ValueError as problem:
            problems.append(f"{name}: {problem}")
    if problems:
        raise refused(f"{path} cannot be used: {'; '.join(problems)}")
    return Template(path, sections, tuple(found))


def refused(why: str) -> SettingsError:
    return SettingsError(_WHAT, why, "Correct the template; docs/coming-from-sam.md describes what is read.")


def _findings(sections: Any) -> Iterator[str]:
    if not isinstance(sections, dict) or not isinstance(sections.get("Resources"), dict):
        yield "it has no Resources"
        return
    for section in ("Parameters", "Outputs", "Resources"):
        table = sections.get(section, {})
        if not isinstance(table, dict):
            yield f"{section} is not a table"
            continue
        for name, each in table.items():
            if not isinstance(each, dict):
                yield f"{section}.{str(name)[:80]} is not a table"
            elif section == "Resources" and not isinstance(each.get("Type"), str):
                yield f"{section}.{str(name)[:80]} has no Type"
            elif section == "Resources" and not isinstance(each.get("Properties", {}), dict):
                yield f"{section}.{str(name)[:80]}.Properties is not a table"
    common = sections.get("Globals", {})
    if not isinstance(common, dict) or not all(isinstance(each, dict) for each in common.values()):
        yield "Globals is not a table of tables"
    transforms = sections.get("Transform", [])
    if _TRANSFORM not in (transforms if isinstance(transforms, list) else [transforms]):
        yield f"it has no Transform: {_TRANSFORM}, so it is no SAM template"


def _package_type(resource: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """The package type of a function; "" for another resource."""
    if resource["Type"] != FUNCTION:
        return ""
    return "Image" if _merged(resource, sections).get("PackageType") == "Image" else "Zip"


def _merged(resource: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    common: Mapping[str, Any] = sections.get("Globals", {}).get("Function", {})
    merged: dict[str, Any] = _merge(common, resource.get("Properties", {}))
    return merged


def _merge(common: Any, own: Any) -> Any:
    """SAM developer guide, "Globals": tables are merged, lists are joined, everything else is replaced."""
    if isinstance(common, dict) and isinstance(own, dict):
        return {**common, **{key: _merge(common[key], each) if key in common else each for key, each in own.items()}}
    if isinstance(common, list) and isinstance(own, list):
        return [*common, *own]
    return own


def _function(name: str, sections: Mapping[str, Any], folder: Path) -> ImageFunction:
    """Raises ValueError."""
    resource = sections["Resources"][name]
    properties = _merged(resource, sections)
    metadata = resource.get("Metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError("Metadata is not a table")
    attributes = {key: each for key, each in resource.items() if key not in ("Type", "Properties")}
    context, dockerfile = metadata.get("DockerContext"), metadata.get("Dockerfile", "Dockerfile")
    if context is None:
        if not isinstance(properties.get("ImageUri"), str):
            raise ValueError("it has neither Metadata.DockerContext nor an ImageUri that is text")
        return ImageFunction(name, properties, attributes, None, "")
    if not isinstance(context, str) or not isinstance(dockerfile, str):
        raise ValueError("Metadata.DockerContext and Metadata.Dockerfile are texts")
    try:
        place = _inside(folder, context, "DockerContext")
        if not place.is_dir():
            raise ValueError(f"DockerContext {context[:200]!a} is not a folder beside the template")
        file = _inside(place, dockerfile, "Dockerfile")
        if not file.is_file():
            raise ValueError(f"there is no {dockerfile[:200]!a} in {context[:200]!a}")
        text = read_regular(file, _DOCKERFILE_MAX).decode("utf-8")
    except OSError as problem:
        raise ValueError(f"{dockerfile[:200]!a} cannot be read ({problem.strerror or problem})") from problem
    return ImageFunction(name, properties, attributes, place, text)


def _inside(folder: Path, path: str, key: str) -> Path:
    """The place of a relative path. Raises ValueError where it leaves ``folder``, also by a link."""
    if "\0" in path:
        raise ValueError(f"{key} {path[:200]!a} is no path")
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise ValueError(f"{key} {path[:200]!a} is outside of {folder.resolve()}; move it there")
    return place
