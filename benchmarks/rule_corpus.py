"""Run the rules of cfn/rules on the AWS samples in cfn-lint, SAM, the CDK and troposphere, and count findings.

    .venv/bin/python benchmarks/rule_corpus.py [--show ID] [--cache DIR]

Downloads the packages with pip and npm; an unreachable index is reported and skipped. ``--show`` prints every finding
of a rule (or of all) with its template. Every finding of an error rule has been reviewed (JUDGED); a new one exits with
code 1.
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
# Templates that AWS deploys in its own integration tests: an error rule that fires there is wrong, or has found a bug.
CDK = "stepfunctions-tasks stepfunctions lambda ec2 sns sqs cloudwatch events-targets dynamodb ecr logs iam rds"
NPM = (
    *(f"@aws-cdk/aws-{name}@1.60.0" for name in f"{CDK} apigateway".split()),
    *(f"@aws-solutions-constructs/aws-lambda-{name}@2.56.0" for name in ("dynamodb", "sns", "s3", "stepfunctions")),
)
SUFFIXES = (".yaml", ".yml", ".json", ".template")
# Rule and file name of each true finding of an error rule, with why it is true.
JUDGED = {
    ("E9561", "sub_needed.yaml"): "Resource: test is no ARN; the sample is about something else",
    ("E9570", "DynamoDB_Table_With_GSI_And_NonKeyAttributes_Projection.yaml"): "defines non-key attributes",
    ("E9590", "SQSEncrypt.yaml"): "KmsMasterKeyId: testing names no key",
    ("E9563", "integ.custom-state.expected.json"): "the role has no policy at all; the test never starts the machine",
}


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


def download_npm(package: str, cache: Path) -> Path | None:
    folder = cache / package.replace("/", "-")
    if not folder.exists():
        try:
            command = ["npm", "pack", "--silent", "--pack-destination", str(cache), package]
            packed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()[-1]
        except (OSError, subprocess.SubprocessError, IndexError) as exc:
            print(f"skipped {package}: {type(exc).__name__}")
            return None
        with tarfile.open(cache / packed) as tar:
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
    corpus = Corpus(options.show)
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(exist_ok=True)
        for package, as_source, where in SOURCES:
            folder = download(package, as_source, cache)
            if folder is not None:
                corpus.add(package, folder, templates(folder, where))
        for package in NPM:
            folder = download_npm(package, cache)
            if folder is not None:
                files = [*folder.rglob("*.expected.json"), *folder.rglob("*.template.json")]
                corpus.add(package, folder, iter(sorted(files)))
    corpus.report()
    sys.exit(1 if corpus.unjudged else 0)


class Corpus:
    """What fired, over all packages."""

    def __init__(self, show: list[str]) -> None:
        self.show = show
        self.templates = 0
        self.findings: collections.Counter[str] = collections.Counter()
        self.touched: dict[str, set[Path]] = collections.defaultdict(set)
        self.unjudged: list[str] = []

    def add(self, package: str, folder: Path, paths: Iterator[Path]) -> None:
        count, started = 0, time.perf_counter()
        for path in paths:
            found = lint(path)
            count += found is not None
            for rule, message in found or []:
                self.findings[rule] += 1
                self.touched[rule].add(path)
                line = f"{rule} {path.relative_to(folder)}: {message}"
                if {rule, "all"} & {*self.show}:
                    print(line)
                if rule.startswith("E") and (rule, path.name) not in JUDGED:
                    self.unjudged.append(line)
        self.templates += count
        print(f"{package}: {count} templates in {time.perf_counter() - started:.1f} s")

    def report(self) -> None:
        print(f"\n{self.templates} templates")
        for rule in sorted((getattr(cfn.rules, name) for name in cfn.rules.__all__), key=lambda r: r.id[1:]):
            count, files = self.findings[rule.id], len(self.touched[rule.id])
            print(f"{rule.id}  {count:4} findings in {files:3} templates  {rule.shortdesc}")
        for line in self.unjudged:
            print(f"not judged yet: {line}")


if __name__ == "__main__":
    main()
