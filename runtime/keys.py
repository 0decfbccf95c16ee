"""Keys that sign what callers bring back, and the signatures: HMAC-SHA256 in base64url."""

import base64
import hmac
from typing import Final

from pydantic import SecretStr

KEY_CHARACTERS: Final = 32
"""The least a key must have: 256 bits need at least so many characters."""


def keys_of(value: SecretStr) -> list[str]:
    """The keys of a setting, which separates them by commas; the first signs, all are accepted."""
    return [key.strip() for key in value.get_secret_value().split(",")]


def check_strength(value: SecretStr | None) -> SecretStr | None:
    """The setting, if each of its keys is long enough. Raises ValueError."""
    for key in [] if value is None else keys_of(value):
        if len(key) < KEY_CHARACTERS:
            raise ValueError(
                f"a key has {len(key)} characters and needs {KEY_CHARACTERS}; "
                "make one with `openssl rand -base64 48`"
            )
    return value


def signature_of(key: bytes, signed: str) -> str:
    """The signature of a text."""
    return text_of(hmac.digest(key, signed.encode(), "sha256"))


def is_signed(token: str, keys: list[bytes]) -> bool:
    """Whether what stands behind the last dot of a token is its signature by one of the keys."""
    signed, _, signature = token.rpartition(".")
    return token.isascii() and any(hmac.compare_digest(signature_of(key, signed), signature) for key in keys)


def text_of(data: bytes) -> str:
    """Bytes in base64url, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """The bytes behind `text_of`. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
