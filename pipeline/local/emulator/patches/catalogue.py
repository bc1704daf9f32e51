"""The required version of ministack, all changes to it, and other internals that are used."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence

from pipeline.core.errors import INSTALL_LOCAL, LocalError
from pipeline.local.emulator.bridge_client import InvocationClient
from pipeline.local.emulator.durable.durable_state import DURABLE_RELIED_ON, DurableState
from pipeline.local.emulator.open_routes import OPEN_ROUTES_RELIED_ON
from pipeline.local.emulator.patches.access import ACCESS_RELIED_ON, registry_token_patch
from pipeline.local.emulator.patches.api_addresses import API_ADDRESSES
from pipeline.local.emulator.patches.batch_actions import BATCH_ACTIONS
from pipeline.local.emulator.patches.executions import EXECUTIONS
from pipeline.local.emulator.patches.invocations import invocation_patches
from pipeline.local.emulator.patches.maps.map_rows import MAPS
from pipeline.local.emulator.patches.patch import Patch, apply, findings, unfit
from pipeline.local.emulator.patches.referrers_api import REFERRERS
from pipeline.local.emulator.patches.replacements import REPLACEMENTS
from pipeline.local.emulator.patches.state_roles import STATE_ROLES
from pipeline.local.emulator.patches.tokens import TOKENS, TOKENS_RELIED_ON
from pipeline.local.emulator.patches.uploads import UPLOADS
from pipeline.local.emulator.registry_logins import RegistryLogins
from pipeline.local.emulator.strict.gates import GATES

# One exact version, because the patches replace internals.
MINISTACK_VERSION = "1.5.33"
# Internals that are read or called, with their shapes (see ``patch.shape``).
RELIED_ON: Mapping[str, str] = {
    "app:_build_persistence_save_dict": "()",
    "core.iam_evaluator:EvalContext": "EvalContext",
    "core.iam_evaluator:_gather_role_policies": "(role_name, account_id)",
    "core.iam_evaluator:evaluate": "(ctx, policies, *limits)",
    "core.responses:error_response_json": (
        "(code, message, status=400, extra=None, *, message_key='message', content_type='application/x-amz-json-1.0')"
    ),
    "core.responses:get_account_id": "()",
    "core.responses:get_region": "()",
    "core.responses:json_response": "(data, status=200, *, content_type='application/x-amz-json-1.0')",
    "services.apigateway:_HOST": "str",
    "services.apigateway:_PORT": "str",
    "services.apigateway:_apigw_response": "(data, status=200)",
    "services.apigateway:_apis": "AccountRegionScopedDict",
    "services.ecr:_images": "AccountRegionScopedDict",
    "services.ecr:_layer_blobs": "AccountRegionScopedDict",
    "services.ecr:_manifest_blobs": "AccountRegionScopedDict",
    "services.ecr:_repositories": "AccountRegionScopedDict",
    "services.ecr:_uploads": "AccountRegionScopedDict",
    "services.lambda_svc:_functions": "AccountRegionScopedDict",
    "services.lambda_svc:_throttle_response": "(reason_code, msg, retry_after=1)",
    "services.lambda_svc:_xray_trace_id_for_invocation": "(config, inbound_trace_header=None)",
    "services.lambda_svc:execution_credentials": "(config)",
    "services.s3:_get_object": "(bucket_name, key, headers, query_params=None)",
    "services.s3:_put_object": "(bucket_name, key, body, headers)",
    "services.stepfunctions:_ExecutionError": "_ExecutionError",
    "services.stepfunctions:_add_event": "(execution, event_type, details=None)",
    "services.stepfunctions:_apply_jsonata_output": (
        "(state_def, raw_input, ctx=None, result=None, error_output=None, default=None)"
    ),
    "services.stepfunctions:_apply_jsonata_template": "(value, raw_input, ctx=None, result=None, error_output=None)",
    "services.stepfunctions:_apply_state_assign": "(state_def, raw_input, ctx, result=None, error_output=None)",
    "services.stepfunctions:_fail_execution": "(execution, error, cause)",
    "services.stepfunctions:_jsonata_state_field": "(state_def, field, expected, raw_input, ctx)",
    "services.stepfunctions:_map_runs": "AccountRegionScopedDict",
    "services.stepfunctions:_read_map_items": "(reader, effective, ctx)",
    "services.stepfunctions:_resolve_params_obj": "(template, data, ctx=None)",
    "services.stepfunctions:_run_sub_machine": "(states, start_at, input_data, execution, ctx)",
    "services.stepfunctions:_executions": "AccountRegionScopedDict",
    "services.stepfunctions:_state_machines": "AccountRegionScopedDict",
}


def all_patches(
    client: InvocationClient | None, logins: RegistryLogins, state: DurableState | None = None
) -> tuple[Patch, ...]:
    """All rows.

    client  the connection to the runtime; None without one
    state   the durable state; None stores nothing
    """
    tokens = registry_token_patch(logins)
    machines = (*EXECUTIONS, *MAPS, *STATE_ROLES, *API_ADDRESSES, *TOKENS, *BATCH_ACTIONS)
    rows = (*invocation_patches(client), *UPLOADS, *REFERRERS, tokens, *machines, *REPLACEMENTS, *GATES)
    return (*rows, *(state.patches() if state is not None else ()))


def require_version() -> None:
    """Raises LocalError unless the required version of ministack is installed. Does not import it."""
    try:
        found = importlib.metadata.version("ministack")
    except importlib.metadata.PackageNotFoundError as error:
        raise LocalError(
            "the embedded AWS was not started", "the package ministack is not installed", INSTALL_LOCAL
        ) from error
    if found != MINISTACK_VERSION:
        raise LocalError(
            "the embedded AWS was not started",
            f"ministack {found} is installed, but this release is made for {MINISTACK_VERSION}",
            f"Run: pip install 'ministack=={MINISTACK_VERSION}'",
        )


def patch_ministack(
    client: InvocationClient | None,
    logins: RegistryLogins,
    state: DurableState | None = None,
    faults: Sequence[Patch] = (),
) -> None:
    """Verify all rows, then apply them.

    faults  rows of a test that make the emulator fail on command; applied first
    Raises LocalError with all findings, before any change.
    """
    patches = (*faults, *all_patches(client, logins, state))
    relied_on = {**RELIED_ON, **ACCESS_RELIED_ON, **DURABLE_RELIED_ON, **OPEN_ROUTES_RELIED_ON, **TOKENS_RELIED_ON}
    if found := findings(patches, relied_on):
        raise unfit(found, MINISTACK_VERSION)
    apply(patches)
