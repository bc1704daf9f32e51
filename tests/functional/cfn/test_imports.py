"""What the template builders may import: proven in an interpreter of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

GUARD = """
import importlib, importlib.abc, pkgutil, sys

class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("boto3", "botocore", "docker", "pipeline"):
            raise ImportError(f"cfn must not import {name}")

sys.meta_path.insert(0, Guard())
"""

EVERYTHING = (
    GUARD
    + """
import cfn
from cfn.settings import FunctionDefinition, Settings

for module in pkgutil.walk_packages(cfn.__path__, "cfn."):
    importlib.import_module(module.name)

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render

names = ("transaction-validation", "fraud-detection", "compliance-checking")
functions = [FunctionDefinition(name) for name in names]
for make in (registry_template, pipeline_template):
    print(len(render(make(Settings("dev"), functions))))
"""
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_cfn_imports_neither_boto3_nor_docker_nor_the_stages_of_the_pipeline() -> None:
    done = run(EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2


def test_the_guard_of_this_test_bites() -> None:
    assert "cfn must not import boto3" in run(GUARD + "import boto3").stderr
    assert "cfn must not import pipeline" in run(GUARD + "import pipeline.target").stderr
