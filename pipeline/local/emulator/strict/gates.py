"""The patches that check every call against the table of refusals."""

from __future__ import annotations

from typing import Any

from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.strict.api_calls import error_response, parse_call
from pipeline.local.emulator.strict.resources import (
    apply_ignored,
    import_repository,
    refuse_creation,
    refuse_deletion,
    refuse_update,
    repository_problem,
)
from pipeline.local.emulator.strict.table import REFUSALS, first_refusal

_LAX = "accepts calls that AWS refuses"
_STRICT = "the rows of pipeline/local/emulator/strict, each with its source"
_HANDLER = "D CloudFormation user guide, Resource types"


def _api_gate(service: str) -> Any:
    def replace(handle: Any, _module: Any) -> Any:
        async def handler(method: str, path: str, headers: Any, body: bytes, query_params: Any) -> Any:
            parsed = parse_call(service, method, path, headers, body, query_params)
            refused = first_refusal(service, *parsed) if parsed is not None else None
            if refused is not None:
                row, message = refused
                return error_response(service, row.code, message, row.status, row.extra)
            return await handle(method, path, headers, body, query_params)

        return handler

    return replace


def _registry_gate(put: Any, ecr: Any) -> Any:
    def _v2_put_manifest(name: str, ref: str, headers: Any, body: bytes) -> Any:
        if not ref.startswith("sha256:"):
            refused = first_refusal("ecr", "PUT manifest", {"repositoryName": name, "imageTag": ref})
            if refused is not None:
                return ecr._registry_error(400, refused[0].code, refused[1], {"tag": ref})
        return put(name, ref, headers, body)

    return _v2_put_manifest


def _keep_filters(create: Any, ecr: Any) -> Any:
    def _create_repository(data: dict[str, Any]) -> Any:
        answer = create(data)
        filters = data.get("imageTagMutabilityExclusionFilters")
        if answer[0] == 200 and filters:
            ecr._repositories[data["repositoryName"]]["imageTagMutabilityExclusionFilters"] = filters
        return answer

    return _create_repository


def _create(provision: Any, _module: Any) -> Any:
    def _provision_resource(resource_type: str, logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        refuse_creation(resource_type, props)
        created = provision(resource_type, logical_id, props, stack_name)
        apply_ignored(resource_type, created[0], props)
        return created

    return _provision_resource


def _update(update: Any, _module: Any) -> Any:
    def _update_resource(
        resource_type: str, physical_id: str, old_props: Any, new_props: Any, *more: Any, **named: Any
    ) -> Any:
        refuse_update(resource_type, physical_id, old_props, new_props)
        updated = update(resource_type, physical_id, old_props, new_props, *more, **named)
        apply_ignored(resource_type, updated[0], new_props)
        return updated

    return _update_resource


def _delete(delete: Any, _module: Any) -> Any:
    def _delete_resource(resource_type: str, physical_id: str, props: Any, *more: Any, **named: Any) -> Any:
        refuse_deletion(resource_type, physical_id, props)
        return delete(resource_type, physical_id, props, *more, **named)

    return _delete_resource


GATES = (
    *(
        Patch(
            f"app:SERVICE_HANDLERS/{service}",
            "55dc9336f9377ba0",
            _LAX,
            _STRICT,
            "the row's own",
            _api_gate(service),
        )
        for service in sorted({row.service for row in REFUSALS})
    ),
    Patch(
        "services.ecr:_create_repository",
        "56ebb5843976ed05",
        "forgets imageTagMutabilityExclusionFilters",
        "a tag that matches a filter can be moved",
        "D ECR API_CreateRepository",
        _keep_filters,
    ),
    Patch(
        "services.ecr:_v2_put_manifest",
        "61f30e54dc20a969",
        "lets a tag of an immutable repository be pushed again with the same digest",
        "refuses it: the tag exists",
        "3P moby/buildkit 3776",
        _registry_gate,
    ),
    Patch(
        "services.cloudformation.stacks:_provision_resource",
        "3b8f01fb187141b6",
        "takes over a resource whose name exists, and creates what the service's API refuses; ignores"
        " ReservedConcurrentExecutions and ImageTagMutabilityExclusionFilters",
        "the creation fails with AlreadyExists, or with the API's message; the properties apply",
        _HANDLER,
        _create,
    ),
    Patch(
        "services.cloudformation.stacks:_update_resource",
        "21b9b1207f59a864",
        "updates to what the service's API refuses; ignores the same properties",
        "the update fails with the API's message; the properties apply",
        _HANDLER,
        _update,
    ),
    Patch(
        "services.cloudformation.stacks:_delete_resource",
        "9e9ba54fb4281d65",
        "words a repository that is not empty in its own way",
        "the message of ECR, as the handler passes it on",
        _HANDLER,
        _delete,
    ),
    Patch(
        "services.cloudformation.changesets:_IMPORT_LOOKUPS/AWS::ECR::Repository",
        "absent",
        "cannot import a repository",
        "a repository can be imported by its name, which is not read-only",
        "S AWS::ECR::Repository, primaryIdentifier",
        lambda _absent, _module: (("RepositoryName",), repository_problem),
    ),
    Patch(
        "services.cloudformation.provisioners:_RESOURCE_HANDLERS/AWS::ECR::Repository/import",
        "absent",
        "cannot import a repository",
        "a repository can be imported by its name, which is not read-only",
        "S AWS::ECR::Repository, primaryIdentifier",
        lambda _absent, _module: import_repository,
    ),
)
