"""What of a folder is not shipped: ``.dockerignore`` rules as Docker reads them, on top of built-in ones.

The syntax is Docker's (build reference, ".dockerignore file"; github.com/moby/patternmatcher): every pattern is
anchored at the folder, ``*`` and ``?`` stop at "/", ``**`` does not, ``!`` takes back, the last match decides, and a
pattern that matches a folder matches everything below it. That is not Git's syntax, so no Git matcher will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import SourceError
from pipeline.core.files import read_optional

FILE = ".dockerignore"
_FILE_MAX = 1_000_000  # bytes
# In a folder's own .dockerignore a line like "!public.pem" takes one of these back, deliberately and by name.
BUILT_IN = """
# what the build reads and the function does not
function.toml
Dockerfile
*.dockerignore
.dockerignore
requirements*.in
requirements*.txt
# caches
**/__pycache__
**/*.pyc
**/*.pyo
**/.*_cache
**/.hypothesis
**/.coverage*
**/.DS_Store
**/Thumbs.db
**/*.swp
**/.*.sw?
**/*~
**/.#*
**/#*#
**/.goutputstream-*
**/*___jb_tmp___
**/*___jb_old___
**/.git
**/.gitignore
**/.gitattributes
**/.hg
**/.svn
**/.idea
**/.vscode
**/.venv
**/venv
**/node_modules
**/*.egg-info
# tests
**/tests
**/test_*.py
**/conftest.py
# secrets
**/.env*
**/*.pem
**/*.key
**/*.p12
**/*.pfx
**/*.jks
**/*.keystore
**/*.kdbx
**/*.ppk
**/id_rsa*
**/id_dsa*
**/id_ecdsa*
**/id_ed25519*
**/.aws
**/.ssh
**/.gnupg
**/.docker
**/.dockercfg
**/.kube
**/.pgpass
**/.vault-token
**/.netrc
**/.npmrc
**/.pypirc
**/.git-credentials
**/*.tfstate*
"""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Neighbouring patterns of one sense as one expression, with the patterns as they are written."""

    pattern: re.Pattern[str]
    takes_back: bool
    written: tuple[str, ...]
    built_in: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a path is not shipped: the pattern, and whether it is a built-in one or the folder's own."""

    pattern: str
    built_in: bool

    def __str__(self) -> str:
        return f"the built-in rule {self.pattern}" if self.built_in else f"{self.pattern} in .dockerignore"


class IgnoreRules:
    """Compiled rules: ``IgnoreRules.parse(["*.md", "!README.md"]).ignores("notes.md")``."""

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = rules

    @classmethod
    def parse(cls, lines: Iterable[str], *, built_in: bool = False) -> IgnoreRules:
        """Raises ValueError for a pattern with an unclosed bracket, naming it."""
        # Neighbours of one sense are one pattern: each path of each folder is held against all of them.
        groups: list[tuple[bool, list[str]]] = []
        for line in lines:
            text = line.strip()
            if not text or line.startswith("#"):
                continue
            takes_back = text.startswith("!")
            pattern = _clean(text[1:].strip() if takes_back else text)
            if not pattern:
                continue
            if not groups or groups[-1][0] != takes_back:
                groups.append((takes_back, []))
            groups[-1][1].append(pattern)
        return cls(
            tuple(_Rule(_compile(patterns), takes_back, tuple(patterns), built_in) for takes_back, patterns in groups)
        )

    def ignores(self, path: str) -> bool:
        """Whether the rules leave out ``path``, relative to their folder and written with "/"."""
        rule = self._deciding(path)
        return rule is not None and not rule.takes_back

    def reason(self, path: str) -> LeftOut | None:
        """Why the rules leave out ``path``; None if it is shipped."""
        rule = self._deciding(path)
        if rule is None or rule.takes_back:
            return None
        matching = (each for each in rule.written if any(map(_compile([each]).fullmatch, _path_and_parents(path))))
        return LeftOut(next(matching), rule.built_in)

    def _deciding(self, path: str) -> _Rule | None:
        above = _path_and_parents(path)
        for rule in reversed(self._rules):
            if any(rule.pattern.fullmatch(each) for each in above):
                return rule
        return None

    def followed_by(self, later: IgnoreRules) -> IgnoreRules:
        """These rules, then those of ``later``."""
        return IgnoreRules(self._rules + later._rules)

    @property
    def takes_back(self) -> bool:
        """Whether something below an ignored folder may still be shipped."""
        return any(rule.takes_back for rule in self._rules)


def read_rules(folder: Path) -> IgnoreRules:
    """The built-in rules, then those of ``folder/.dockerignore``. Raises SourceError for a file that cannot be used."""
    return _read(folder, _BUILT_IN)


def _read(folder: Path, built_in: IgnoreRules) -> IgnoreRules:
    try:
        # Lines end as they do for Docker; str.splitlines would also break at characters that names may have.
        own = (read_optional(folder / FILE, _FILE_MAX) or b"").decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(folder, error) from error
    if not own:
        return built_in
    try:
        return built_in.followed_by(IgnoreRules.parse(own))
    except ValueError as error:
        raise _unusable(folder, error) from error


def read_context_rules(folder: Path) -> IgnoreRules:
    """The same for the context of a Dockerfile, which may read requirements. Raises SourceError."""
    return _read(folder, _OF_A_CONTEXT)


def _unusable(folder: Path, error: Exception) -> SourceError:
    return SourceError(f"{folder.name} was not built", f"{folder / FILE} cannot be used: {error}", "Fix the file.")


def _path_and_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _clean(pattern: str) -> str:
    """Like Go's ``filepath.Clean`` with the leading slash taken off: ``./a//b/`` is ``a/b``, and ``../a`` stays."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part == ".." and not pattern.startswith("/"):
            parts.append(part)  # out of the folder, so it matches nothing
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def _compile(patterns: list[str]) -> re.Pattern[str]:
    """What matches one of them. Raises ValueError, naming the first that is none."""
    expressions = [_translate(pattern) for pattern in patterns]
    try:
        return re.compile("|".join(f"(?:{each})" for each in expressions), re.DOTALL)
    except re.error:
        for pattern, expression in zip(patterns, expressions, strict=True):
            try:
                re.compile(expression, re.DOTALL)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no pattern ({error})") from error
        raise


def _translate(pattern: str) -> str:
    out, position = [], 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern.startswith("*", position):
            position += 2 if pattern.startswith("/", position + 1) else 1
            out.append("(?:.*/)?" if position < len(pattern) else ".*")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", position + (2 if pattern.startswith("^", position) else 1))
            if end < 0:
                raise ValueError(f"{pattern!r} has a [ without a ]")
            inside = pattern[position:end].replace("[", r"\[")
            out.append(f"[{inside}]")
            position = end + 1
        elif char == "\\" and position < len(pattern):
            out.append(re.escape(pattern[position]))
            position += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


_BUILT_IN = IgnoreRules.parse(BUILT_IN.splitlines(), built_in=True)
_OF_A_CONTEXT = IgnoreRules.parse(
    (line for line in BUILT_IN.splitlines() if not line.startswith("requirements")), built_in=True
)
