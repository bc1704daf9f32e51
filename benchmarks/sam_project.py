"""SAM CLI in an environment of its own, and the same functions as a SAM project.

Zip packages, because SAM builds images with Docker only; that spares SAM the images' larger uploads. Everything else is
in SAM's favour too: byte code of SAM itself, a bucket that is there already, wheels in a
folder instead of an index, no telemetry, a template that needs no transform, and nothing in the stack but the functions
and a role.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.measure import ROOT, run
from pipeline.local.control import LocalAws

SAM_VERSION = "1.170.0"
AS_SAM_INIT = ("--cached", "--parallel")
_TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
_ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [_TRUST]}},
}


def install_sam(cache: Path) -> Path:
    """The folder of programs of an environment with SAM CLI; made once in ``cache``."""
    folder = cache / f"sam-{SAM_VERSION}-{sys.version_info.major}.{sys.version_info.minor}"
    ready = folder / "ready"
    if not ready.exists():
        print(f"installing SAM CLI {SAM_VERSION} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        # Its own pip: SAM builds with `python -m pip` of the first fitting Python in PATH.
        subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, folder], check=True)
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python"]
        subprocess.run([*command, f"aws-sam-cli=={SAM_VERSION}"], check=True)
        ready.touch()
    return folder / "bin"


class SamProject:
    """The functions below ``images`` as a SAM project in ``folder``, each with a copy of what they share.

    build_options  of every ``sam build``; ``sam init`` writes AS_SAM_INIT into a project, SAM's own default is none
    """

    def __init__(
        self, folder: Path, programs: Path, build_options: tuple[str, ...] = (), images: Path = ROOT / "images"
    ) -> None:
        self.folder = folder
        self._build_options = build_options
        self._programs = programs
        self._wheels = folder / "wheels"
        ignored = shutil.ignore_patterns("__pycache__", "Dockerfile", "function.toml", "requirements.in")
        shared = [each for each in images.iterdir() if (each / "__init__.py").exists()]
        self.functions = sorted(each.parent.name for each in images.glob("*/function.toml"))
        for name in self.functions:
            shutil.copytree(images / name, folder / name, ignore=ignored)
            for package in shared:
                shutil.copytree(package, folder / name / package.name, ignore=ignored)
        (folder / "template.json").write_text(json.dumps(self._template(images), indent=1))
        self._download()

    def _template(self, images: Path) -> dict[str, object]:
        resources: dict[str, object] = {"Role": _ROLE}
        for name in self.functions:
            manifest = tomllib.loads((images / name / "function.toml").read_text())
            variables = {
                "ENVIRONMENT": "bench",
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_METRICS_NAMESPACE": "TransactionPipeline",
                "TABLE_NAME": "transaction-state-bench",
            }
            resources["".join(part.title() for part in name.split("-"))] = {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "FunctionName": {"Fn::Sub": f"${{AWS::StackName}}-{name}"},
                    "Code": f"{name}/",
                    "Handler": manifest["handler"],
                    "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
                    "MemorySize": manifest["memory"],
                    "Timeout": manifest["timeout"],
                    "Environment": {"Variables": variables},
                    "Role": {"Fn::GetAtt": "Role.Arn"},
                },
            }
        return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}

    def _download(self) -> None:
        for name in self.functions:
            command = [self._programs / "python", "-m", "pip", "download", "-qq", "--dest", self._wheels]
            subprocess.run([*command, "--requirement", self.folder / name / "requirements.txt"], check=True)

    def _variables(self, local: LocalAws) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ},
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "AWS_ENDPOINT_URL": local.endpoint,
            "AWS_DEFAULT_REGION": local.region,
            "AWS_ACCESS_KEY_ID": local.access_key_id,
            "AWS_SECRET_ACCESS_KEY": local.secret_access_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SAM_CLI_TELEMETRY": "0",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self._wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def build_and_deploy(self, local: LocalAws, bucket: str, stack: str) -> tuple[float, float]:
        """Seconds, and seconds of processor, that ``sam build`` and ``sam deploy`` take, as two whole processes."""
        sam, variables = self._programs / "sam", self._variables(local)
        build = [sam, "build", *self._build_options, "--template", "template.json"]
        deploy = [sam, "deploy", "--stack-name", stack, "--s3-bucket", bucket, "--capabilities", "CAPABILITY_IAM"]
        deploy += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
        runs = [run(command, folder=self.folder, env=variables) for command in (build, deploy)]
        return sum(each.seconds for each in runs), sum(each.cpu for each in runs)
