"""The fast reader of botocore's models gives what botocore's own gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader

from pipeline.core.service_models import ServiceModels


def as_text(value: object) -> str:
    """With the order of every mapping: protocols write members in the model's order."""
    return json.dumps(value)


@pytest.mark.parametrize("service", ["cloudformation", "ecr", "lambda", "ssm", "stepfunctions", "dynamodb", "sts"])
@pytest.mark.parametrize("kind", ["service-2", "paginators-1", "endpoint-rule-set-1"])
def test_a_model_is_the_same_as_botocore_reads_it(service: str, kind: str) -> None:
    try:
        expected = as_text(Loader().load_service_model(service, kind))
    except UnknownServiceError:
        with pytest.raises(DataNotFoundError):
            ServiceModels().load_service_model(service, kind)
    else:
        assert as_text(ServiceModels().load_service_model(service, kind)) == expected


@pytest.mark.parametrize("name", ["endpoints", "partitions", "_retry", "sdk-default-configuration"])
def test_what_all_services_share_is_the_same(name: str) -> None:
    assert as_text(ServiceModels().load_data(name)) == as_text(Loader().load_data(name))


def test_the_services_of_botocore_are_known() -> None:
    assert set(Loader().list_available_services("service-2")) <= set(ServiceModels().list_available_services("any"))


def test_a_service_that_nobody_has_is_an_error() -> None:
    with pytest.raises(UnknownServiceError):
        ServiceModels().load_service_model("no-such-service", "service-2")


def test_a_folder_of_the_users_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    (tmp_path / "ecr" / "2099-01-01").mkdir(parents=True)
    (tmp_path / "ecr" / "2099-01-01" / "service-2.json").write_text('{"metadata": {"apiVersion": "2099-01-01"}}')
    models = ServiceModels("/nowhere:$MODELS:")
    assert models.load_service_model("ecr", "service-2")["metadata"] == {"apiVersion": "2099-01-01"}


def test_a_file_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        ServiceModels(str(tmp_path)).load_data("endpoints")
