"""What a function's layers hold, against what will run them: native modules, and what looks like a credential.

Only what Python imports is judged, and what that needs: packages also carry libraries for other machines as data, such
as debuggers do. Whether a shared object is in a base whose layers were not read cannot be decided, so it is a warning.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.assembly.facts.elf import Elf
from pipeline.assembly.facts.glibc import Glibc, glibc_of
from pipeline.assembly.facts.layer_facts import SPECIAL, LayerFacts
from pipeline.assembly.facts.leaks import find_credentials
from pipeline.assembly.model import Platform
from pipeline.core.errors import Finding
from pipeline.core.shown import first_few, shown

# In every image with Python that is linked against glibc: its own parts, the compiler's, and what Python itself needs.
_ALWAYS_THERE = (
    *("libc.so.*", "libm.so.*", "libpthread.so.*", "libdl.so.*", "librt.so.*", "libutil.so.*", "libresolv.so.*"),
    *("ld-linux-*.so.*", "linux-vdso.so.*", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libpython3*.so*"),
)
_SOURCE = "ELF gABI, dynamic linking; glibc, symbol versions"


@dataclass(frozen=True, slots=True)
class Judged:
    """Findings stop a push; warnings are what could not be decided."""

    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]


def _special(layers: Sequence[LayerFacts]) -> Iterator[str]:
    for facts in layers:
        if SPECIAL in facts.problems:
            count, example = facts.problems[SPECIAL]
            more = f" and {count - 1} more" if count > 1 else ""
            yield f"{example}{more}: the local runtime leaves it out, and Lambda does not document what it does"


def judge_contents(
    layers: Sequence[LayerFacts | None], variables: Sequence[str], platform: Platform, allowed: Sequence[str] = ()
) -> Judged:
    """Judge an image by the facts of its layers, in order; None for a layer that was not read.

    variables  of the image's config, as "NAME=value"
    allowed    paths, or patterns of paths, that may hold what looks like a credential
    """
    read = [facts for facts in layers if facts is not None]
    credentials = {path: kinds for facts in read for path, kinds in facts.credentials.items()}
    natives = {native.path: native for facts in read for native in facts.natives}
    findings = [*_credentials(credentials, variables, allowed)]
    warnings = [*_special(read)]
    loaded = _loaded(natives)
    if loaded:
        libc = [each.glibc for each in natives.values() if each.path.endswith("/libc.so.6") and each.glibc]
        glibc = Glibc(*libc[-1]) if libc else glibc_of(platform.python)
        findings += _unfit(loaded, platform, glibc)
        missing = _missing(loaded, {name for facts in read for name in facts.libraries})
        if missing and len(read) == len(layers) and libc:
            findings += [_missing_library(name, needing) for name, needing in missing.items()]
        elif missing:
            needs = first_few(f"{name} ({shown(needing[0])})" for name, needing in missing.items())
            warnings.append(f"only the base image can have these shared objects: {needs}")
    return Judged(tuple(findings), tuple(warnings))


def _credentials(
    found: Mapping[str, Sequence[str]], variables: Sequence[str], allowed: Sequence[str]
) -> Iterator[Finding]:
    cure = "Remove it and revoke it, or name its path in `allowed_credentials` of environments.toml."
    for path, kinds in sorted(found.items()):
        if not any(fnmatch.fnmatchcase(path.removeprefix("var/task/"), pattern) for pattern in allowed):
            yield Finding(
                "credential",
                f"{shown('/' + path)} holds what looks like {' and '.join(kinds)}",
                cure,
                "the issuers' documentation of their formats (pipeline/assembly/facts/leaks.py)",
            )
    for variable in variables:
        name, _, value = variable.partition("=")
        for kind in find_credentials(value.encode()):
            yield Finding("credential", f"the variable {shown(name)} holds what looks like {kind}", cure, "see above")


def _loaded(natives: Mapping[str, Elf]) -> list[Elf]:
    """The modules that Python can import, and the libraries of the image that these need."""
    by_name = {path.rpartition("/")[2]: native for path, native in natives.items()}
    waiting = [native for native in natives.values() if native.extension]
    found: dict[str, Elf] = {}
    while waiting:
        native = waiting.pop()
        if native.path not in found:
            found[native.path] = native
            waiting += [by_name[name] for name in native.needed if name in by_name]
    return [found[path] for path in sorted(found) if not path.endswith("/libc.so.6")]


def _unfit(loaded: Sequence[Elf], platform: Platform, glibc: Glibc) -> Iterator[Finding]:
    for native in loaded:
        if native.architecture != platform.architecture.oci:
            yield Finding(
                "native-architecture",
                f"{shown('/' + native.path)} is made for {native.architecture}, the function runs on "
                f"{platform.architecture.oci}",
                "Use the file of the other architecture, or a wheel that has both.",
                _SOURCE,
            )
        elif native.glibc is not None and native.glibc > glibc:
            yield Finding(
                "native-glibc",
                f"{shown('/' + native.path)} needs glibc {Glibc(*native.glibc)}, the image has {glibc}",
                "Build it on the base image's system, choose an older wheel, or a newer Python: 3.12 has glibc 2.34.",
                _SOURCE,
            )


def _missing(loaded: Sequence[Elf], present: set[str]) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for native in loaded:
        for name in native.needed:
            if name not in present and not any(fnmatch.fnmatchcase(name, pattern) for pattern in _ALWAYS_THERE):
                missing.setdefault(name, []).append(native.path)
    return missing


def _missing_library(name: str, needing: Sequence[str]) -> Finding:
    more = f" and {len(needing) - 1} more" if len(needing) > 1 else ""
    return Finding(
        "native-library",
        f"{shown('/' + needing[0])}{more} needs {shown(name)}, which is not in the image",
        "Use a package that brings it (such as opencv-python-headless for libGL), or a base that has it.",
        _SOURCE,
    )
