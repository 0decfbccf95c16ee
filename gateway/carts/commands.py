"""The command to change a cart: a valid request, before prices and the cart itself are looked at."""

import hashlib
from collections.abc import Sequence

import msgspec

from carts.operations import Item, Metadata
from gateway.http.conditions import Preconditions, Preferences
from gateway.identity.principal import Principal
from store.redis import ChangeRequest, RequestStep
from topics.headers import TRACEPARENT, Headers


class AddProduct(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="add"):
    """An add before it is priced: `unit_price` and `currency` are what the caller states, if anything."""

    line_id: str
    quantity: int
    item: Item
    unit_price: int | None = None
    currency: str | None = None
    metadata: Metadata | None = None


CommandStep = AddProduct | RequestStep


class ChangeCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Steps on one cart, all or none.

    `listed_in` is the member of the body that lists the steps, None where the body is the one step. `cause`
    names the route, in the record too.
    `fingerprint` is empty without an Idempotency-Key: then `op_id` is random and no retry can name it.
    `first_seen_us`: when the client first tried. `preconditions`: at which versions the cart may be.
    `trace`: further headers of the Kafka record.
    """

    cart_id: str
    steps: tuple[CommandStep, ...]
    listed_in: str | None
    cause: str
    op_id: str
    fingerprint: str
    first_seen_us: int
    preconditions: Preconditions
    preferences: Preferences
    trace: Headers
    caller: Principal

    @property
    def may_be_retry(self) -> bool:
        """Whether an earlier attempt can have had the same op_id."""
        return bool(self.fingerprint)

    def pointer(self, index: int) -> str:
        """Where in the body a step stands (RFC 6901)."""
        return "" if self.listed_in is None else f"/{self.listed_in}/{index}"

    def request(self, steps: tuple[RequestStep, ...], *, replay_only: bool = False) -> ChangeRequest:
        """The request to the store, with the priced steps."""
        return ChangeRequest(
            cart_id=self.cart_id,
            op_id=self.op_id,
            fingerprint=self.fingerprint,
            steps=steps,
            first_seen_us=self.first_seen_us,
            if_match=self.preconditions.if_match,
            if_none_match=self.preconditions.if_none_match,
            replay_only=replay_only,
            minimal=self.preferences.minimal,
            actor=self.caller.actor,
            cause=self.cause,
            traceparent=self._traceparent(),
        )

    def _traceparent(self) -> str:
        for name, value in self.trace:
            if name == TRACEPARENT:
                return value.decode()
        return ""


def fingerprint_of(steps: Sequence[CommandStep]) -> str:
    """16 hex digits that distinguish a retry (same steps) from a reused key (other steps).

    The order of JSON members does not matter. Steps are taken before they are priced: a retry is recognised
    after a price has changed, too.
    """
    return hashlib.blake2b(msgspec.json.encode(steps, order="sorted"), digest_size=8).hexdigest()
