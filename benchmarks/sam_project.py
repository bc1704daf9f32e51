"""SAM CLI in a separate environment, and the same functions as a SAM project of zip packages or images.

Everything that could go either way favours SAM: byte code of SAM itself, an existing bucket and repositories, wheels in
a folder instead of an index (for images, installed dependencies), no telemetry, a template without a transform, and
nothing in the stack but the functions and a role.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, aws_client, run
from benchmarks.separate import install
from pipeline.local.host.control import LocalAws

SAM_VERSION = "1.170.0"
AS_SAM_INIT = ("--cached", "--parallel")
_TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
_ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [_TRUST]}},
}


def install_sam(cache: Path) -> Path:
    """The folder of programs of an environment with SAM CLI; made once in ``cache``."""
    return install(cache, f"sam-{SAM_VERSION}", f"aws-sam-cli=={SAM_VERSION}")


class SamProject:
    """The functions below ``images`` as a SAM project of zip packages, each with a copy of the shared code.

    build_options  of every ``sam build``; ``sam init`` writes AS_SAM_INIT into a project, SAM's own default is none
    """

    def __init__(
        self, folder: Path, programs: Path, build_options: tuple[str, ...] = (), images: Path = ROOT / "images"
    ) -> None:
        self.folder = folder
        self._build_options = build_options
        self._programs = programs
        self._wheels = folder / "wheels"
        self._images = images
        self.functions = sorted(each.parent.name for each in images.glob("*/function.toml"))
        self._lay_out()
        (folder / "template.json").write_text(json.dumps(self._template(), indent=1))

    def _lay_out(self) -> None:
        ignored = shutil.ignore_patterns("__pycache__", "Dockerfile", "function.toml", "requirements.in")
        shared = [each for each in self._images.iterdir() if (each / "__init__.py").exists()]
        for name in self.functions:
            shutil.copytree(self._images / name, self.folder / name, ignore=ignored)
            for package in shared:
                shutil.copytree(package, self.folder / name / package.name, ignore=ignored)
        for name in self.functions:
            command: list[str | Path] = [
                self._programs / "python",
                "-m",
                "pip",
                "download",
                "-qq",
                "--dest",
                self._wheels,
            ]
            subprocess.run([*command, "--requirement", self.folder / name / "requirements.txt"], check=True)

    def handler(self, function: str) -> Path:
        """The file that a developer edits."""
        return self.folder / function / "handler.py"

    def _template(self) -> dict[str, object]:
        resources: dict[str, object] = {"Role": _ROLE}
        for name in self.functions:
            manifest = tomllib.loads((self._images / name / "function.toml").read_text())
            variables = {
                "ENVIRONMENT": "bench",
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_METRICS_NAMESPACE": "TransactionPipeline",
                "TABLE_NAME": "transaction-state-bench",
            }
            function = self._function(name, manifest)
            function["Properties"] |= {
                "FunctionName": {"Fn::Sub": f"${{AWS::StackName}}-{name}"},
                "MemorySize": manifest["memory"],
                "Timeout": manifest["timeout"],
                "Environment": {"Variables": variables},
                "Role": {"Fn::GetAtt": "Role.Arn"},
            }
            resources[_logical_id(name)] = function
        return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}

    def _function(self, name: str, manifest: dict[str, Any]) -> dict[str, Any]:
        code = {
            "Code": f"{name}/",
            "Handler": manifest["handler"],
            "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        }
        return {"Type": "AWS::Lambda::Function", "Properties": code}

    def _variables(self, local: LocalAws) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ", "DOCKER_HOST") if name in os.environ},
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

    def build_and_deploy(
        self, local: LocalAws, stack: str, places: Sequence[str], login: str | None = None
    ) -> tuple[float, float]:
        """Seconds, and seconds of processor, that ``sam build`` and ``sam deploy`` take, as two whole processes.

        places  options of ``sam deploy`` that say where packages or images go
        login   where ECR's logins are answered; None for the embedded AWS itself
        """
        sam, variables = self._programs / "sam", self._variables(local)
        variables |= {"AWS_ENDPOINT_URL_ECR": login} if login else {}
        build: list[str | Path] = [sam, "build", *self._build_options, "--template", "template.json"]
        deploy: list[str | Path] = [sam, "deploy", "--stack-name", stack, *places, "--capabilities", "CAPABILITY_IAM"]
        deploy += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
        runs = [run(command, folder=self.folder, env=variables) for command in (build, deploy)]
        return sum(each.seconds for each in runs), sum(each.cpu for each in runs)


class SamImageProject(SamProject):
    """The same functions as images, built by SAM through the engine from each function's own Dockerfile.

    base      an image of the engine
    contexts  the build contexts that ``pipeline.local.containers.compose_context`` makes, dependencies installed
    """

    def __init__(self, folder: Path, programs: Path, build_options: tuple[str, ...], base: str, contexts: Path) -> None:
        self._base = base
        self._contexts = contexts
        super().__init__(folder, programs, build_options)

    def _lay_out(self) -> None:
        for name in self.functions:
            shutil.copytree(self._contexts / name, self.folder / name)

    def handler(self, function: str) -> Path:
        return self.folder / function / "function" / "handler.py"

    def _function(self, name: str, _manifest: dict[str, Any]) -> dict[str, Any]:
        return {
            "Type": "AWS::Lambda::Function",
            "Properties": {"PackageType": "Image", "Code": {"ImageUri": f"{name}:bench"}},
            "Metadata": {
                "Dockerfile": "Dockerfile",
                "DockerContext": f"./{name}",
                "DockerTag": "bench",
                "DockerBuildArgs": {"BASE_IMAGE": self._base},
            },
        }

    def repositories(self, ecr: Any, local: LocalAws) -> list[str]:
        """A new repository for each function; the options of ``sam deploy`` that name them as the engine does."""
        options = []
        for name in self.functions:
            ecr.create_repository(repositoryName=f"sam-{name}")
            options += ["--image-repositories", f"{_logical_id(name)}={_host(local)}/sam-{name}"]
        return options


class _Login(BaseHTTPRequestHandler):
    """ECR's GetAuthorizationToken with a login at the embedded registry: the engine has no address for AWS's host."""

    registry = ""
    token = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"authorizationData": [{"authorizationToken": self.token, "proxyEndpoint": self.registry}]})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def registry_login(local: LocalAws) -> Iterator[str]:
    """The URL that SAM asks for a login, answered for the length of the block."""
    answer = aws_client(local, "ecr").get_authorization_token()["authorizationData"][0]
    handler = type("Login", (_Login,), {"registry": local.endpoint, "token": answer["authorizationToken"]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _host(local: LocalAws) -> str:
    return local.endpoint.removeprefix("http://")


def _logical_id(name: str) -> str:
    return "".join(part.title() for part in name.split("-"))
