"""Links in messages about carts left behind: what they prove is in the link, signed, and no store knows it.

A token is `<kind>.<claim>.<expiry>.<signature>`: the claim in base64url, Unix seconds in decimal (0: never),
and HMAC-SHA256 of what stands before, in base64url.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from pydantic import Field, SecretStr, field_validator

from runtime.keys import bytes_of, check_strength, is_signed, keys_of, signature_of, text_of
from runtime.settings import Settings

_PARTS: Final = 4


class LinkKind(StrEnum):
    """What a link is for. A token of one kind is none of another."""

    RECOVERY = "r1"
    UNSUBSCRIBE = "u1"


class IdlePeriod(msgspec.Struct, frozen=True):
    """An idle period of a cart: `version` is the version number it had all the time."""

    cart_id: str
    version: int


class SignedLinks:
    """Signs and checks tokens. The first key signs, all are accepted: so keys can rotate."""

    def __init__(self, keys: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        self._keys: Final = [key.encode() for key in keys]
        self._clock: Final = clock

    def recovery(self, period: IdlePeriod, expires_at: int) -> str:
        """The token that takes a shopper back to a cart left behind, until then (Unix seconds)."""
        return self._sign(LinkKind.RECOVERY, msgspec.json.encode(period), expires_at)

    def recovered(self, token: str) -> IdlePeriod | None:
        """The idle period that a token ends; None for a token that is none, or has expired."""
        claim = self._check(LinkKind.RECOVERY, token)
        return None if claim is None else msgspec.json.decode(claim, type=IdlePeriod)

    def unsubscribe(self, address: str) -> str:
        """The token that ends mails about carts to an address."""
        return self._sign(LinkKind.UNSUBSCRIBE, hash_of(address), 0)

    def unsubscribed(self, token: str) -> bytes | None:
        """The hash of the address that a token ends the mails to; None for a token that is none."""
        return self._check(LinkKind.UNSUBSCRIBE, token)

    def _sign(self, kind: LinkKind, claim: bytes, expires_at: int) -> str:
        signed = f"{kind}.{text_of(claim)}.{expires_at}"
        return f"{signed}.{signature_of(self._keys[0], signed)}"

    def _check(self, kind: LinkKind, token: str) -> bytes | None:
        parts = token.split(".")
        if len(parts) != _PARTS or parts[0] != kind or not is_signed(token, self._keys):
            return None
        expires_at = int(parts[2])  # as it was signed: well-formed
        return None if expires_at and expires_at <= self._clock() else bytes_of(parts[1])


def hash_of(address: str) -> bytes:
    """32 bytes that stand for a mail address where the address itself must not."""
    return hashlib.sha256(b"cartstream mail address\0" + address.strip().lower().encode()).digest()


class RecoverySettings(Settings):
    """Every process that signs or checks links must have the same."""

    recovery_keys: SecretStr | None = Field(
        None,
        examples=["output-of-openssl-rand-base64-48"],
        description="keys that sign links to [carts left behind](../how-to/carts-left-behind.md), "
        "separated by commas, 32 characters at least; the first signs, all are accepted. The "
        "same for jobs and gateways",
    )

    @field_validator("recovery_keys")
    @classmethod
    def _signs_well(cls, value: SecretStr | None) -> SecretStr | None:
        return check_strength(value)

    @property
    def links(self) -> SignedLinks | None:
        """Signs and checks links; None without a key."""
        return None if self.recovery_keys is None else SignedLinks(keys_of(self.recovery_keys))
