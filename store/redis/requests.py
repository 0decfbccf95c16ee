"""Requests to the store."""

import msgspec

from carts.operations import Clear, ClientStep, Metadata, Remove
from store.redis.absence import Absence


class SetQuantity(msgspec.Struct, frozen=True):
    """Decide the quantity of a line that is there.

    The script takes the item from the line, and the price and currency too unless they are given, so that the
    operation becomes a complete `carts.operations.Set`. No such line: Refused(LINE_NOT_FOUND).
    """

    line_id: str
    quantity: int
    unit_price: int | None = None
    currency: str | None = None
    metadata: Metadata | None = None


RequestStep = ClientStep | SetQuantity


class ChangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on one cart, applied all or nothing.

    Ids and steps follow their grammar already (carts.ids, carts.limits): the script checks only what
    depends on the cart.

    * `fingerprint` is made of characters that JSON needs not escape.
    * `first_seen_us`: when the client first tried, as far as known.
    * `if_match`: the opaque parts of strong ETags, of which one must be the cart's; `*` alone: any cart that
      was ever written.
    * `if_none_match`: the same of tags of which none may be the cart's.
    * `replay_only`: only tell whether the operation was applied before: Refused(NOT_APPLIED) if it was not.
      The steps do not matter then.
    * `absence`: the caller has looked elsewhere since, and there is nothing: an absent cart may be born.
    * `forgotten_version`: the version number of the copy found there, if it is too old to count
      (carts.lifetime): an expiry that it knew of stands, one that it did not know of is void.
    * `minimal`: do not return the cart.
    * `traceparent`: the W3C Trace Context that waits in the outbox with the event; empty: none.
    """

    cart_id: str
    op_id: str
    fingerprint: str
    steps: tuple[RequestStep, ...]
    first_seen_us: int
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    replay_only: bool = False
    absence: Absence | None = None
    forgotten_version: int = 0
    minimal: bool = False
    actor: str | None = None
    cause: str | None = None
    traceparent: str = ""

    @property
    def takes_away(self) -> bool:
        """Whether all that it may do is to take lines, or pieces of them, out of the cart."""
        return all(
            isinstance(step, Remove | Clear) or (isinstance(step, SetQuantity) and step.metadata is None)
            for step in self.steps
        )
