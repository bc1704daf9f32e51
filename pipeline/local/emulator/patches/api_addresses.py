"""HTTP APIs have an address that answers: ministack's own is a host name that nothing here resolves."""

from __future__ import annotations

import json
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

# ministack serves an API below this path, too; ``admission`` requires a signature there, as for every service.
API_PATH = "/_aws/execute-api/"
_MINISTACK = "gives an HTTP API the address of a host named after it, which does not resolve"
_AWS = "an API's endpoint answers its requests"
_SOURCE = "D API Gateway developer guide, Invoke your HTTP API"


def _address(apigateway: Any, api_id: str) -> str:
    return f"http://{apigateway._HOST}:{apigateway._PORT}{API_PATH}{api_id}"


def _create_by_stack(create: Any, _module: Any) -> Any:
    def _apigw_v2_api_create(logical_id: str, props: Any, stack_name: str) -> Any:
        from ministack.services import apigateway

        api_id, attributes = create(logical_id, props, stack_name)
        api = apigateway._apis[api_id]
        if api["protocolType"] == "HTTP":
            api["apiEndpoint"] = _address(apigateway, api_id)
        return api_id, {**attributes, "ApiEndpoint": api["apiEndpoint"]}

    return _apigw_v2_api_create


def _create_by_call(create: Any, apigateway: Any) -> Any:
    def _create_api(data: dict[str, Any]) -> Any:
        status, headers, body = create(data)
        made = json.loads(body)
        if status != 201 or made["protocolType"] != "HTTP":
            return status, headers, body
        api = apigateway._apis[made["apiId"]]
        api["apiEndpoint"] = _address(apigateway, made["apiId"])
        return apigateway._apigw_response(api, 201)

    return _create_api


API_ADDRESSES = (
    Patch(
        "services.cloudformation.provisioners:_RESOURCE_HANDLERS/AWS::ApiGatewayV2::Api/create",
        "0002e18b41984434",
        _MINISTACK,
        _AWS,
        _SOURCE,
        _create_by_stack,
    ),
    Patch("services.apigateway:_create_api", "de00441a615d912c", _MINISTACK, _AWS, _SOURCE, _create_by_call),
)
