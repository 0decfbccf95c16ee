"""A shop's login for tests: it signs JWTs and publishes its keys."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.identity.jwt_keys import SecretKey
from gateway.identity.jwt_tokens import JwtTokens

SECRET: Final = "s" * 32


def jwts(*keys: Any, **options: Any) -> JwtTokens:
    """Checks JWTs with these keys, without any with the secret."""
    settings: dict[str, Any] = {"issuer": None, "audience": None, "leeway_s": 0.0} | options
    return JwtTokens(keys or (SecretKey(SECRET),), **settings)


def signed(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A JWT; without other claims a shopper's for a minute."""
    return jwt.encode({"sub": "42", "exp": time.time() + 60, **claims}, key, algorithm)


@asynccontextmanager
async def publishing(keys: list[Any]) -> AsyncIterator[str]:
    """The address of a login that publishes these public keys; the list may change meanwhile."""

    async def key_set(_: web.Request) -> web.Response:
        if not keys:
            return web.Response(status=503)
        return web.json_response({"keys": [key.as_dict() for key in keys]})

    app = web.Application()
    app.router.add_get("/jwks.json", key_set)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    finally:
        await runner.cleanup()


class PublishedKey:
    """A key pair of a login; the public half as it is published."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.private = ec.generate_private_key(ec.SECP256R1())

    def as_dict(self) -> dict[str, Any]:
        """The public key as a JSON Web Key."""
        numbers: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return {**numbers, "kid": self.key_id, "alg": "ES256", "use": "sig"}

    def token(self) -> str:
        """A shopper's JWT signed with it."""
        claims = {"sub": "42", "exp": time.time() + 60}
        return jwt.encode(claims, self.private, "ES256", headers={"kid": self.key_id})
