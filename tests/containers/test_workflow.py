"""The whole pipeline in containers: released, answering, and answering also when a container dies in the middle."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cfn.settings import TRANSACTIONS
from pipeline.assembly.build import Build
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import Platform
from pipeline.assembly.sources import find_sources
from pipeline.core.events import ignore
from pipeline.environment.configuration import Choices, Project, settings_of
from pipeline.local.host.control import LocalAws, local_session
from pipeline.oci.blobs import BlobStore
from pipeline.release.deployment import Deployment
from pipeline.release.release import Released, release
from pipeline.target import Target, local_target
from tests.containers.conftest import ROOT, containers_of

TRANSACTION = {"amount": 100, "currency": "USD", "merchant_id": "merchant-001", "customer_id": "customer-001"}
SLOWLY = 2.0


def deploy(target: Target, images: Path, platform: Platform, base_layout: Path, store: BlobStore) -> Released:
    sources = find_sources(images, python=platform.python)
    build = Build(sources, platform, f"oci:{base_layout}", store, Slim.for_sources(sources), sbom=False)
    settings = settings_of("dev", Choices(), project=Project(workflow=TRANSACTIONS), architecture=platform.architecture)
    return release(Deployment(target, settings, build), ignore, by="test", smoke=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's functions; compliance checking takes its time, so that it can be met in the middle."""
    images = tmp_path_factory.mktemp("sources") / "images"
    shutil.copytree(ROOT / "images", images, ignore=shutil.ignore_patterns("__pycache__"))
    handler = images / "compliance-checking" / "handler.py"
    text = handler.read_text()
    assert "    findings = screen(" in text
    slow = text.replace("    findings = screen(", f"    __import__('time').sleep({SLOWLY})\n    findings = screen(")
    handler.write_text(slow)
    return images


@pytest.fixture(scope="module")
def local(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with local_session(tmp_path_factory.mktemp("workflow"), runtime="docker") as local:
        yield local


@pytest.fixture(scope="module")
def released(
    local: LocalAws, images: Path, platform: Platform, base_layout: Path, store: BlobStore
) -> tuple[Target, Released]:
    target = local_target(local, None)
    done = deploy(target, images, platform, base_layout, store)
    for function in done.functions:
        # Its container comes up; on a busy machine that takes longer than the workflow has patience for a judgement.
        target.client("lambda").invoke(FunctionName=f"{function.function}-dev", Payload="{}")
    return target, done


def submit(released: tuple[Target, Released], identifier: str) -> Any:
    target, done = released
    answer = target.client("stepfunctions").start_sync_execution(
        stateMachineArn=done.stacks[-1]["StateMachineArn"],
        input=json.dumps({"transaction_id": identifier, **TRANSACTION}),
    )
    assert answer["status"] == "SUCCEEDED", (answer.get("error"), answer.get("cause"))
    return json.loads(answer["output"])


@pytest.mark.any_engine
def test_a_daemonless_image_on_a_real_base_answers_in_its_container(
    released: tuple[Target, Released], local: LocalAws, engine: Any
) -> None:
    assert submit(released, "first")["outcome"] == "APPROVED"
    running = containers_of(engine, local.folder, "function")
    # By digest where the engine pulled it; under a name that ends with the digest's hexadecimals where it was loaded.
    assert {each["Image"].rpartition(":")[2] for each in running} == {
        image.uri.rpartition(":")[2] for image in released[1].functions
    }


@pytest.mark.any_engine
def test_a_container_killed_in_the_middle_costs_a_retry_and_no_answer(
    released: tuple[Target, Released], local: LocalAws, engine: Any
) -> None:
    submit(released, "warm")
    label = "transaction-pipeline.local.function"
    with ThreadPoolExecutor() as threads:
        running = threads.submit(submit, released, "killed")
        time.sleep(SLOWLY / 2)
        found = containers_of(engine, local.folder, "function")
        victims = {each["Id"] for each in found if each["Labels"][label] == "compliance-checking-dev"}
        assert victims
        for victim in victims:
            engine.kill(victim)
        assert running.result()["outcome"] == "APPROVED"
    assert not victims & {each["Id"] for each in containers_of(engine, local.folder, "function")}
