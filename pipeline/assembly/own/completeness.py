"""Whether what ships of a function is all that its code refers to.

A module or a file that stays behind is an error where the code names it, with the rule that leaves it out: the image
would build, and fail at its first invocation. What only the base image could have is a warning.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.assembly.ignore import IgnoreRules, read_rules
from pipeline.assembly.model import TASK_ROOT, FunctionSource
from pipeline.assembly.own.references import Reference
from pipeline.core.errors import SourceError
from pipeline.core.shown import first_few

# What Lambda's own base images bring beside Python (AWS Lambda developer guide, "Runtime-included SDK versions for
# Python"), and what these need.
_IN_LAMBDAS_BASE = frozenset(
    {
        *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3"),
        *("awslambdaric", "simplejson", "snapshot_restore_py", "bootstrap", "runtime_client"),
    }
)


@dataclass(frozen=True, slots=True)
class Available:
    """The modules that an image has besides the function's own.

    modules   top-level name → whether it is a namespace package, of all installed dependencies
    left_out  files (or "folder/") of dependencies that are not shipped → the rule
    closed    whether nothing else is in the image but Python, because it has no base
    """

    modules: Mapping[str, bool] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False


def top_modules(paths: Sequence[str]) -> dict[str, bool]:
    """The top-level modules among files that are relative to an entry of ``sys.path`` → whether it is a namespace."""
    found: dict[str, bool] = {}
    for path in paths:
        parts = path.split("/")
        name, _, rest = parts[0].partition(".")
        if not name.isidentifier() or not path.endswith((".py", ".so", ".pyc")):
            continue
        if len(parts) == 1:
            found[name] = False
        elif not rest:
            regular = parts[1].startswith("__init__.") and len(parts) == 2
            found[name] = found.get(name, True) and not regular
    return found


def judge_completeness(
    source: FunctionSource,
    shipped: Sequence[str],
    references: Sequence[Reference],
    available: Available,
) -> tuple[str, ...]:
    """What cannot be decided, as warnings.

    shipped  the files of the function and of the shared packages, relative to the task root

    Raises SourceError with every reference to something that is left out, and every name that is both the function's
    own and a dependency's.
    """
    judge = _Judge(source, set(shipped), available)
    problems = [*judge.handler_problems(), *_twice(top_modules(shipped), available.modules)]
    for reference in references:
        if problem := judge.problem(reference):
            problems.append(f"{reference.place} {problem}")
    if problems:
        raise SourceError(
            f"{source.name} was not packed",
            "; ".join(dict.fromkeys(problems)),
            "Ship, rename or stop using what is named; `build --list` shows every file and its rule.",
        )
    return tuple(judge.warnings(references))


def _twice(own: Mapping[str, bool], installed: Mapping[str, bool]) -> Iterator[str]:
    for name in sorted(own.keys() & installed.keys()):
        if not (own[name] and installed[name]):  # two namespace packages are one
            yield f"{name} is both a module of the function and one of its dependencies, and only one can be imported"


class _Judge:
    def __init__(self, source: FunctionSource, shipped: set[str], available: Available) -> None:
        self._source = source
        self._shipped = shipped
        self._folders = {path[:end] for path in shipped for end, char in enumerate(path) if char == "/"}
        self._available = available
        self._shared = {folder.name: folder for folder in source.shared}
        self._rules: dict[Path, IgnoreRules] = {}

    def handler_problems(self) -> Iterator[str]:
        """An error if no file of the image has the handler's module; no base is expected to bring it."""
        module = self._source.handler.partition(".")[0]
        if not self._is_shipped(module) and module not in self._available.modules:
            places = "the function's folder, a shared package or a dependency"
            yield f"handler = {self._source.handler!r}, but {module} is not in {places}"

    def problem(self, reference: Reference) -> str:
        """What is wrong with a reference, as the rest of a sentence; "" for nothing."""
        if reference.kind == "path":
            return self._path_problem(reference)
        if reference.optional:
            return ""
        match reference.kind:
            case "import":
                return self._import_problem(reference.name.split("."))
            case "relative import":
                return f"imports {reference.name}, which Python allows inside of packages only"
            case "service":
                rule = self._installed_rule(f"botocore/data/{reference.name}/")
                cure = "add it to [[calls]] of function.toml, or set slim = false"
                return f"makes a client of {reference.name}, whose data is left out as {rule}; {cure}" if rule else ""

    def _import_problem(self, parts: Sequence[str]) -> str:
        top = parts[0]
        if top in self._available.modules and not self._is_shipped(top):
            return self._dependency_problem(parts)
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if self._is_shipped(path):
                if path not in self._folders:
                    return ""  # a module: what follows is a name inside it
                continue
            if count == 1 and top in sys.stdlib_module_names:
                return ""
            return self._left_behind(".".join(parts[:count]), path)
        return ""

    def _is_shipped(self, path: str) -> bool:
        return path in self._folders or f"{path}.py" in self._shipped or f"{path}.pyc" in self._shipped

    def _left_behind(self, name: str, path: str) -> str:
        """Why a module that does not ship is here nevertheless; "" if it is not."""
        for candidate in (f"{path}/__init__.py", f"{path}.py", path):
            folder, inner = self._place(candidate)
            if (folder / inner).exists() and (reason := self._rules_of(folder).reason(inner)):
                return f"imports {name}, and {reason} leaves {candidate} out; ship it with !{inner} in .dockerignore"
        beside = self._source.code_folder.parent / path
        if "/" in path:
            return ""
        if beside.is_dir() and any(beside.glob("**/*.py")):
            why = "it has a function.toml" if (beside / "function.toml").exists() else "it has no __init__.py"
            return f"imports {name}, and the folder {beside.name} beside the function is not shared, because {why}"
        if beside.with_suffix(".py").is_file():
            return f"imports {name}, and {beside.name}.py lies beside the function's folder, not in it"
        return ""

    def _dependency_problem(self, parts: Sequence[str]) -> str:
        for count in range(2, len(parts) + 1):
            path = "/".join(parts[:count])
            for candidate in (f"{path}.py", f"{path}/__init__.py"):
                if rule := self._installed_rule(candidate):
                    return f"imports {'.'.join(parts[:count])}, which is left out as {rule}; set slim = false"
        return ""

    def _installed_rule(self, path: str) -> str:
        left_out = self._available.left_out
        ends = [end + 1 for end, char in enumerate(path) if char == "/"]
        return left_out.get(path) or next((left_out[path[:end]] for end in ends if path[:end] in left_out), "")

    def _path_problem(self, reference: Reference) -> str:
        name = reference.name.removeprefix(f"{TASK_ROOT}/")
        for candidate in (name, posixpath.join(posixpath.dirname(reference.module), name)):
            path = posixpath.normpath(candidate)
            if path.startswith(("/", "..")) or path == "." or path in self._shipped or path in self._folders:
                continue
            folder, inner = self._place(path)
            try:
                exists = (folder / inner).exists()
            except OSError:  # longer than a path can be
                continue
            reason = self._rules_of(folder).reason(inner) if exists else None
            if reason is not None and reason.built_in:
                cure = f"ship it with !{inner} in .dockerignore, or confirm the rule with {inner}"
                return f"names {path}, and {reason} leaves it out; {cure}"
        return ""

    def _place(self, path: str) -> tuple[Path, str]:
        """The folder whose rules decide over a path of the task root, and the path inside of it."""
        top, _, rest = path.partition("/")
        if rest and top in self._shared:
            return self._shared[top], rest
        return self._source.code_folder, path

    def _rules_of(self, folder: Path) -> IgnoreRules:
        if folder not in self._rules:
            self._rules[folder] = read_rules(folder)
        return self._rules[folder]

    def warnings(self, references: Sequence[Reference]) -> Iterator[str]:
        """The modules that start with the handler and that neither the function nor its dependencies have."""
        known = self._available.modules.keys() | sys.stdlib_module_names
        if not self._available.closed:
            known |= _IN_LAMBDAS_BASE
        missing: dict[str, str] = {}
        reached = self._reached(references)
        for each in references:
            top = each.name.partition(".")[0]
            if each.kind != "import" or each.optional or each.late or each.module not in reached:
                continue
            if top and top not in known and not self._is_shipped(top):
                missing.setdefault(top, each.place)
        if missing:
            names = first_few(f"{name} ({place})" for name, place in missing.items())
            has = "the image does not have" if self._available.closed else "only the base image can have"
            yield f"{self._source.name} imports what {has}: {names}"

    def _reached(self, references: Sequence[Reference]) -> set[str]:
        """The own modules that importing the handler imports."""
        by_module: dict[str, list[str]] = {}
        for each in references:
            if each.kind == "import" and not each.late:
                by_module.setdefault(each.module, []).append(each.name)
        waiting, reached = [self._source.handler.rpartition(".")[0]], set[str]()
        while waiting:
            parts = waiting.pop().split(".")
            for count in range(1, len(parts) + 1):
                path = "/".join(parts[:count])
                for module in (f"{path}/__init__.py", f"{path}.py"):
                    if module in self._shipped and module not in reached:
                        reached.add(module)
                        waiting += by_module.get(module, [])
        return reached
