"""What answers HTTP: a function's URL, and the routes of the project's HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troposphere import GetAtt, Output, Ref, Sub, Template, apigatewayv2, awslambda

from cfn.events.kinds import Route, Url
from cfn.events.pushed import add_permission
from cfn.names import LIVE_ALIAS, Names, pascal_case
from cfn.settings import FunctionDefinition, Jwt

API = "HttpApi"
_PAYLOAD = "2.0"
_TIMEOUT_MAX = 30_000  # milliseconds (API Gateway quotas for HTTP APIs)


def add_url(template: Template, function: FunctionDefinition, number: int, event: Url, alias: Any) -> None:
    stem = pascal_case(function.name)
    public = event.auth == "none"
    url = template.add_resource(
        awslambda.Url(
            f"{stem}Event{number}",
            TargetFunctionArn=GetAtt(f"{stem}Function", "Arn"),
            Qualifier=LIVE_ALIAS,
            AuthType="NONE" if public else "AWS_IAM",
            DependsOn=[alias.title],
        )
    )
    if public:
        # Both are needed (Lambda guide, "Control access to Lambda function URLs").
        template.add_resource(
            awslambda.Permission(
                f"{stem}Event{number}UrlPermission",
                Action="lambda:InvokeFunctionUrl",
                FunctionName=Ref(alias),
                Principal="*",
                FunctionUrlAuthType="NONE",
            )
        )
        template.add_resource(
            _UrlPermission(
                f"{stem}Event{number}Permission",
                Action="lambda:InvokeFunction",
                FunctionName=Ref(alias),
                Principal="*",
                InvokedViaFunctionUrl=True,
            )
        )
    template.add_output(Output(f"{stem}Url", Value=GetAtt(url, "FunctionUrl")))


class _UrlPermission(awslambda.Permission):  # type: ignore[misc]
    # troposphere 4.11 does not know the property.
    props = {**awslambda.Permission.props, "InvokedViaFunctionUrl": (bool, False)}  # noqa: RUF012


def add_api(
    template: Template,
    names: Names,
    routes: Sequence[tuple[FunctionDefinition, int, Route, Any]],
    jwt: Jwt | None = None,
) -> None:
    """Add the HTTP API with its routes: each a function with the number of its event, the event and its alias.

    jwt  for the routes that accept tokens
    """
    api = template.add_resource(apigatewayv2.Api(API, Name=names.pipeline_stack, ProtocolType="HTTP"))
    template.add_resource(apigatewayv2.Stage(f"{API}Stage", ApiId=Ref(api), StageName="$default", AutoDeploy=True))
    authorization = {"iam": {"AuthorizationType": "AWS_IAM"}, "none": {"AuthorizationType": "NONE"}}
    if jwt is not None:
        authorization["jwt"] = _tokens(template, names, api, jwt)
    for function, number, event, alias in routes:
        stem = pascal_case(function.name)
        integration_id = f"{stem}Integration"
        if integration_id not in template.resources:
            template.add_resource(
                apigatewayv2.Integration(
                    integration_id,
                    ApiId=Ref(api),
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=Ref(alias),
                    PayloadFormatVersion=_PAYLOAD,
                    TimeoutInMillis=min(function.timeout * 1000, _TIMEOUT_MAX),
                )
            )
            add_permission(
                template,
                f"{stem}ApiPermission",
                alias,
                "apigateway",
                SourceArn=Sub(f"arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:${{{API}}}/*"),
            )
        template.add_resource(
            apigatewayv2.Route(
                f"{stem}Event{number}",
                ApiId=Ref(api),
                RouteKey=event.route,
                Target=Sub(f"integrations/${{{integration_id}}}"),
                **authorization[event.auth],
            )
        )
    template.add_output(Output("ApiUrl", Value=GetAtt(api, "ApiEndpoint")))


def _tokens(template: Template, names: Names, api: Any, jwt: Jwt) -> dict[str, Any]:
    """Add the authorizer; gives the properties of a route that uses it."""
    authorizer = template.add_resource(
        apigatewayv2.Authorizer(
            f"{API}Authorizer",
            ApiId=Ref(api),
            Name=names.pipeline_stack,
            AuthorizerType="JWT",
            # Not a query parameter, which proxies and logs keep.
            IdentitySource=["$request.header.Authorization"],
            JwtConfiguration=apigatewayv2.JWTConfiguration(Issuer=jwt.issuer, Audience=list(jwt.audience)),
        )
    )
    scopes = {"AuthorizationScopes": list(jwt.scopes)} if jwt.scopes else {}
    return {"AuthorizationType": "JWT", "AuthorizerId": Ref(authorizer), **scopes}
