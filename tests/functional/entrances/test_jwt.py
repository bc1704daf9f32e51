"""Routes that accept tokens, beside signed and public ones: who gets through, and by which address."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.functional.conftest import EmbeddedAws
from tests.functional.entrances.conftest import Entrances, deploy, new_project, transaction
from tests.functional.oidc import Provider, provider
from tests.functional.signed_requests import request

ENVIRONMENT = "tokens"
# The setting has the https URL that it demands; the authorizer is pointed at the provider on loopback afterwards.
SETTINGS = f"""
[project]
workflow = "transactions"

[environments.{ENVIRONMENT}]
entrances = ["http"]
jwt = {{ issuer = "https://login.example.com/", audience = ["payments", "other"], scopes = ["submit", "all"] }}
transactions_per_minute = 600
reserved_concurrency = 50
"""
ROUTES = {
    "GET /public/{proxy+}": "none",
    "GET /public/vault": "iam",
    "ANY /vault/{proxy+}": "iam",
    "GET /vault/door": "none",
    "GET /token": "jwt",
    "POST /public/vault/{id}": "iam",
}
HANDLER = """
def handle(event, context):
    authorizer = event["requestContext"].get("authorizer", {})
    return {"route": event["routeKey"], "claims": authorizer.get("jwt", {}).get("claims")}
"""


@pytest.fixture(scope="module")
def oidc() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture(scope="module")
def tokens(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory, oidc: Provider) -> Iterator[Entrances]:
    project = new_project(tmp_path_factory.mktemp("tokens"), embedded_aws)
    project.write("environments.toml", SETTINGS)
    project.write("images/routes/requirements.txt", "")
    project.write("images/routes/handler.py", HANDLER)
    events = "".join(
        f'[[events]]\ntype = "http"\nroute = "{route}"\nauth = "{auth}"\n' for route, auth in ROUTES.items()
    )
    project.write("images/routes/function.toml", f'handler = "handler.handle"\nvpc = false\ntimeout = 10\n{events}')
    found = deploy(project, ENVIRONMENT)
    api = embedded_aws.client("apigatewayv2")
    api_id = found.outputs["ApiUrl"].rpartition("/")[2]
    (authorizer,) = api.get_authorizers(ApiId=api_id)["Items"]
    assert authorizer["JwtConfiguration"] == {"Audience": ["payments", "other"], "Issuer": "https://login.example.com/"}
    api.update_authorizer(
        ApiId=api_id, AuthorizerId=authorizer["AuthorizerId"],
        JwtConfiguration={"Audience": ["payments", "other"], "Issuer": oidc.issuer},
    )  # fmt: skip
    yield found
    project.run("down", "-e", ENVIRONMENT, "--yes", code=(0, 1))


def call(
    tokens: Entrances, method: str, path: str, token: str = "", document: Any = None, **headers: str
) -> tuple[int, Mapping[str, str], Any]:
    """A request without a signature."""
    lines = {"Authorization": f"Bearer {token}"} if token else {}
    body = b"" if document is None else json.dumps(document).encode()
    lines |= {"Content-Type": "application/json"} if body else {}
    status, answered, content = request(
        tokens.aws, method, f"{tokens.outputs['ApiUrl']}{path}", body, lines | headers, signed=False
    )
    return status, answered, json.loads(content) if content else None


def test_a_token_submits_and_reads_a_transaction(tokens: Entrances, oidc: Provider) -> None:
    token = oidc.token(oidc.claims())
    status, _headers, decision = call(tokens, "POST", "/transactions", token, transaction("by-token"))
    assert (status, decision["outcome"]) == (200, "APPROVED")
    assert call(tokens, "GET", "/transactions/by-token", token)[::2] == (200, decision)
    status, headers, document = call(tokens, "GET", "/openapi.json", token)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert document["security"] == [{"jwt": ["submit"]}, {"jwt": ["all"]}]
    (scheme,) = document["components"]["securitySchemes"].values()
    assert scheme["openIdConnectUrl"] == "https://login.example.com/.well-known/openid-configuration"
    assert call(tokens, "GET", "/nowhere", token)[0] == 404
    assert call(tokens, "GET", "/nowhere")[0] == 401


def test_claims_that_api_gateway_takes_instead_are_taken(tokens: Entrances, oidc: Provider) -> None:
    claims = oidc.claims(aud=None, client_id="other", scope=None, scp=["all"], iat=None)
    status, _headers, answer = call(tokens, "GET", "/token", oidc.token(claims))
    assert (status, answer["route"], answer["claims"]["sub"]) == (200, "GET /token", "someone")
    assert call(tokens, "GET", "/token", oidc.token(oidc.claims(aud=["x", "payments"])))[0] == 200


BAD_TOKENS: dict[str, tuple[int, Callable[[Provider], str]]] = {
    "no token": (401, lambda _oidc: ""),
    "no JSON": (401, lambda _oidc: "a.b.c"),
    "two parts": (401, lambda oidc: oidc.token(oidc.claims()).rpartition(".")[0]),
    "no signature": (401, lambda oidc: oidc.token(oidc.claims()).rpartition(".")[0] + "."),
    "alg none": (401, lambda oidc: oidc.unsigned(oidc.claims())),
    "alg HS256": (401, lambda oidc: oidc.signed_with_the_public_key(oidc.claims())),
    "another alg than that of the signature": (401, lambda oidc: oidc.token(oidc.claims(), alg="HS256")),
    "another key": (401, lambda oidc: oidc.token(oidc.claims(), signing=rsa.generate_private_key(65537, 2048))),
    "an unknown key": (401, lambda oidc: oidc.token(oidc.claims(), kid="key-2")),
    "no kid": (401, lambda oidc: oidc.token(oidc.claims(), kid=None)),
    "expired": (401, lambda oidc: oidc.token(oidc.claims(exp=int(time.time()) - 1))),
    "no exp": (401, lambda oidc: oidc.token(oidc.claims(exp=None))),
    "exp is a text": (401, lambda oidc: oidc.token(oidc.claims(exp="tomorrow"))),
    "exp is infinite": (401, lambda oidc: oidc.token(oidc.claims(exp=float("inf")))),
    "not valid yet": (401, lambda oidc: oidc.token(oidc.claims(nbf=int(time.time()) + 600))),
    "issued later": (401, lambda oidc: oidc.token(oidc.claims(iat=int(time.time()) + 600))),
    "another issuer": (401, lambda oidc: oidc.token(oidc.claims(iss="https://login.example.com/"))),
    "no issuer": (401, lambda oidc: oidc.token(oidc.claims(iss=None))),
    "another audience": (401, lambda oidc: oidc.token(oidc.claims(aud="payments-test"))),
    "a client_id beside another audience": (401, lambda oidc: oidc.token(oidc.claims(aud="x", client_id="payments"))),
    "no audience": (401, lambda oidc: oidc.token(oidc.claims(aud=None))),
    "no scope": (403, lambda oidc: oidc.token(oidc.claims(scope=None))),
    "another scope": (403, lambda oidc: oidc.token(oidc.claims(scope="read submits"))),
    "claims are a list": (401, lambda oidc: oidc.token([1])),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_token_that_does_not_fit_is_refused(tokens: Entrances, oidc: Provider, name: str) -> None:
    status, made = BAD_TOKENS[name]
    assert call(tokens, "POST", "/transactions", made(oidc), transaction("refused"))[0] == status
    assert tokens.record("refused") == {}


def test_a_signature_does_not_open_a_route_of_tokens(tokens: Entrances) -> None:
    assert tokens.send("GET", "/token")[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/public/x", "GET /public/{proxy+}"),
        ("GET", "//public/x", "GET /public/{proxy+}"),
        ("GET", "/public/vault/x", "GET /public/{proxy+}"),
        ("GET", "/public/../vault/x", "GET /public/{proxy+}"),
        ("GET", "/public/%2e%2e/vault/x", "GET /public/{proxy+}"),
        ("GET", "/public%2Fx", "GET /public/{proxy+}"),
        ("GET", "/public/vault%252F", "GET /public/{proxy+}"),
        ("GET", "/vault/door", "GET /vault/door"),
    ],
)
def test_a_public_route_answers_anyone(tokens: Entrances, method: str, path: str, route: str) -> None:
    status, _headers, answer = call(tokens, method, path)
    assert (status, answer["route"]) == (200, route)
    # Whatever a request says of its signature: it is not needed.
    assert call(tokens, method, path, Authorization="AWS4-HMAC-SHA256 Credential=x/y")[0] == 200


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/public/vault"),
        ("GET", "/public%2Fvault"),
        ("GET", "/%70ublic/vault"),
        ("GET", "//public/vault"),
        ("GET", "///public/vault?x=/public/x"),
        ("POST", "/public/vault/1"),
        ("GET", "/vault/x"),
        ("HEAD", "/vault/door"),
        ("POST", "/vault/door"),
        ("GET", "/vault/door/"),
        ("GET", "/vault//door"),
        ("GET", "/vault/./door"),
        ("GET", "/vault/x/../door"),
        ("GET", "/vault/%2e%2e/public/x"),
        ("GET", "/vault%2F..%2Fpublic%2Fx"),
        ("GET", "/vault/door%00"),
        ("GET", "/vault/door%2F"),
        ("GET", "/vault/%2564oor"),
        ("OPTIONS", "/vault/door"),
    ],
)
def test_no_address_leads_to_a_signed_route_without_a_signature(
    tokens: Entrances, oidc: Provider, method: str, path: str, token: bool
) -> None:
    value = oidc.token(oidc.claims()) if token else ""
    status, _headers, answer = call(tokens, method, path, value)
    assert (status, answer) == (403, {"message": "Forbidden"}) or (status, method) == (403, "HEAD")
    key = tokens.aws.access_key_id
    scope = f"{key}/20260101/us-east-1/execute-api/aws4_request"
    forged = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    assert call(tokens, method, path, Authorization=forged)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/_aws/execute-api/nowhere1/public/x",
        "/_aws/execute-api/{api}/@connections/x",
        "/_aws/execute-api/{api}/public/../../../../_ministack/reset",
        "/_aws/execute-api/../_ministack/health",
        "/_aws/execute-api/{api}/../../../_ministack/config",
        "/_aws/execute-api//{api}/public/x",
        "/restapis/{api}/$default/_user_request_/public/x",
    ],
)
def test_nothing_else_is_opened_by_an_open_route(tokens: Entrances, path: str) -> None:
    address, _, api = tokens.outputs["ApiUrl"].rpartition("/")
    host = address.removesuffix("/_aws/execute-api")
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
    status, _headers, content = request(tokens.aws, "POST", host + path.format(api=api), b"{}", headers, signed=False)
    assert status in (400, 401, 403, 404), content
    assert b"TableNames" not in content
