"""Run the rules of cfn/rules on the AWS samples that cfn-lint, SAM and troposphere ship, and count what fires.

    .venv/bin/python benchmarks/rule_corpus.py [--show ID] [--cache DIR]

The packages are downloaded from the package index with pip when this runs; without an index it says why and ends with
exit code 0. ``--show`` prints every finding of a rule (or of all) with its template, to be judged true or false;
docs/rules.md keeps the verdicts.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from cfnlint.decode import decode
from cfnlint.template import Template

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cfn.rules

# Package, whether as source distribution, and where its samples are. What lies in the "bad" folders is not a sample.
SOURCES = (
    (f"cfn-lint=={version('cfn-lint')}", True, "test/fixtures/templates/{good,quickstart,public,integration,issues}"),
    ("aws-sam-cli", False, "samcli/lib/{init,pipeline}"),
    ("aws-sam-translator", True, "tests"),
    (f"troposphere=={version('troposphere')}", True, "examples"),
)
SUFFIXES = (".yaml", ".yml", ".json", ".template")


def download(package: str, as_source: bool, cache: Path) -> Path | None:
    """The unpacked package, or None with the reason printed."""
    folder = cache / package
    if not folder.exists():
        packed = cache / f"{package}.packed"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(packed), package]
        result = subprocess.run(
            [*command, *(["--no-binary", ":all:"] if as_source else [])], capture_output=True, text=True, check=False
        )
        if result.returncode:
            print(f"skipped {package}: {(result.stderr.strip().splitlines() or ['pip failed'])[-1]}")
            return None
        (archive,) = packed.iterdir()
        if archive.suffix == ".whl":
            zipfile.ZipFile(archive).extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    return folder


def templates(folder: Path, where: str) -> Iterator[Path]:
    """The templates below the sample folders, those that sample programs print, and those inside project templates."""
    base, _, names = where.partition("{")
    for name in names.rstrip("}").split(","):
        for root in (*folder.glob(f"*/{base}{name}"), *folder.glob(f"{base}{name}")):
            for path in sorted(root.rglob("*")):
                if path.suffix == ".py" and "examples" in path.parts:
                    yield _printed(path)
                elif path.suffix in SUFFIXES and not {"bad", "made"} & {*path.parts, path.parent.name}:
                    yield _rendered(path) if "{{" in str(path) else path


def _made(path: Path, text: str) -> Path:
    made = path.parent / "made" / f"{path.stem}.yaml"
    made.parent.mkdir(exist_ok=True)
    made.write_text(text, encoding="utf-8")
    return made


def _printed(program: Path) -> Path:
    """The template that a program prints."""
    command = [sys.executable, program.name]
    run = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, timeout=60, check=False)
    return _made(program, run.stdout if run.returncode == 0 else "")


def _rendered(path: Path) -> Path:
    """A project template with every choice taken: the marks of its template language removed or filled."""
    without_choices = re.sub(r"^.*\{%.*%\}.*\n?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return _made(path, re.sub(r"\{\{.*?\}\}", "sample", without_choices))


def lint(path: Path) -> list[tuple[str, str]] | None:
    """Rule and message of each finding; None for a file that is no template."""
    template, _ = decode(str(path))
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        return None
    parsed = Template(str(path), template, ["us-east-1"])
    parsed.transform()
    rules = [getattr(cfn.rules, name)() for name in cfn.rules.__all__]
    return [(rule.id, match.message) for rule in rules for match in rule.match(parsed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="append", default=[], help="print the findings of a rule")
    parser.add_argument("--cache", type=Path, help="keep the packages here (default: a temporary folder)")
    options = parser.parse_args()
    totals: collections.Counter[str] = collections.Counter()
    touched: dict[str, set[str]] = collections.defaultdict(set)
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        for package, as_source, where in SOURCES:
            folder = download(package, as_source, cache)
            if folder is None:
                continue
            count, started = 0, time.perf_counter()
            for path in templates(folder, where):
                findings = lint(path)
                if findings is None:
                    continue
                count += 1
                for rule, message in findings:
                    totals[rule] += 1
                    touched[rule].add(str(path))
                    if rule in options.show or "all" in options.show:
                        print(f"{rule} {path.relative_to(folder)}: {message}")
            print(f"{package}: {count} templates in {time.perf_counter() - started:.1f} s")
    for name in cfn.rules.__all__:
        rule = getattr(cfn.rules, name)
        print(f"{rule.id}  {totals[rule.id]:4} findings in {len(touched[rule.id]):3} templates  {rule.shortdesc}")


if __name__ == "__main__":
    main()
