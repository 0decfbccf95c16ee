"""Production mode in tests: its settings, and the headers that prove who calls."""

import time
from typing import Any, Final

import jwt

SECRET: Final = "a-secret-of-at-least-32-characters"
PRODUCTION: Final = {
    "CARTSTREAM_MODE": "production",
    "CARTSTREAM_GUEST_TOKEN_KEYS": "guest-tokens-are-signed-with-this-key",
    "CARTSTREAM_SESSION_KEY": "sessions-become-carts-under-this-key",
    "CARTSTREAM_JWT_SECRET": SECRET,
    "CARTSTREAM_ACCESS_LOG": "true",
}


def bearer(subject: str, scope: str | None = None) -> dict[str, str]:
    """The header of a shopper, or of a service with these scopes."""
    claims: dict[str, Any] = {"sub": subject, "exp": time.time() + 3600}  # longer than all tests take
    if scope is not None:
        claims["scope"] = scope
    return {"authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
