"""An OpenID Connect provider on loopback: its discovery document, its keys, and tokens that it signs."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_ID = "key-1"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class Provider:
    """issuer: its URL."""

    issuer: str
    key: rsa.RSAPrivateKey

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a token that is valid for the audience ``payments``; None leaves one out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "someone", "aud": "payments", "exp": now + 600, "iat": now - 1,
            "scope": "read submit",
        }  # fmt: skip
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, claims: Any, *, signing: rsa.RSAPrivateKey | None = None, **header: Any) -> str:
        """A token signed with RS256, whatever its header says."""
        signed = self._signed(claims, {"alg": "RS256", "kid": KEY_ID} | header)
        key = signing or self.key
        return f"{signed}.{encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def unsigned(self, claims: Mapping[str, Any]) -> str:
        return f"{self._signed(claims, {'alg': 'none', 'kid': KEY_ID})}."

    def signed_with_the_public_key(self, claims: Mapping[str, Any]) -> str:
        """HS256 with the RSA modulus as the secret, which a validation that trusts ``alg`` would accept."""
        signed = self._signed(claims, {"alg": "HS256", "kid": KEY_ID})
        mac = hmac.HMAC(json.dumps(self.keys()["keys"][0]).encode(), hashes.SHA256())
        mac.update(signed.encode())
        return f"{signed}.{encoded(mac.finalize())}"

    def keys(self) -> dict[str, Any]:
        """The JSON Web Key Set."""
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID}
        return {"keys": [key | {"n": _number(numbers.n), "e": _number(numbers.e)}]}

    @staticmethod
    def _signed(claims: Any, header: Mapping[str, Any]) -> str:
        return ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))


@contextmanager
def provider() -> Iterator[Provider]:
    """A running provider."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {
                "/.well-known/openid-configuration": {"issuer": made.issuer, "jwks_uri": f"{made.issuer}/keys"},
                "/keys": made.keys(),
            }.get(self.path)
            body = json.dumps(found).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(f"http://127.0.0.1:{server.server_port}", rsa.generate_private_key(65537, 2048))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
