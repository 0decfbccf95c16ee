"""The records of a history that tell of orders and of what there is to buy."""

from enum import StrEnum

import msgspec


class CheckOut(msgspec.Struct, frozen=True, tag_field="do", tag="check out"):
    """Ask for an order of what the cart holds; a confirmation is wanted where there is an address."""

    email: str | None = None


class Cancel(msgspec.Struct, frozen=True, tag_field="do", tag="cancel"):
    """Ask for an order to be cancelled."""

    order_id: str


class Look(msgspec.Struct, frozen=True, tag_field="do", tag="look"):
    """Ask for an order as it is now."""

    order_id: str


OrderRequest = CheckOut | Cancel | Look


class OrderAttempt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="order-attempt"):
    """An attempt at an order request leaves; only a checkout has a key. `at` is a history's time."""

    at: int
    op: int
    attempt: int
    client: int
    cart_id: str
    order_request: OrderRequest
    key: str | None = None
    gateway: int = 0


class Ordered(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ordered"):
    """The attempt was answered with an order: pieces by line, the sum in minor units."""

    at: int
    op: int
    attempt: int
    order_id: str
    seq: int
    status: str
    lines: dict[str, int]
    total: int


class Stocked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="stocked"):
    """A product whose pieces are counted came into the catalogue, before anybody could buy it."""

    at: int
    product_id: str
    pieces: int


class Outcome(StrEnum):
    """What the client may rely on, over all attempts at an order request."""

    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    """Never answered with an order, and not every attempt was refused."""
    REFUSED = "refused"
