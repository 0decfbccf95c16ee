"""What a history says of erasures: what was asked for, and the certificates that were given."""

import msgspec


class EraseAttempt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="erase-attempt"):
    """An attempt to have a cart erased leaves. Each attempt is an erasure of its own."""

    at: int
    op: int
    attempt: int
    client: int
    cart_id: str
    gateway: int = 0


class Erased(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="erased"):
    """The attempt was answered with a certificate; `complete`: every store was seen to have done it."""

    at: int
    op: int
    attempt: int
    erasure_id: str
    version: int
    complete: bool
