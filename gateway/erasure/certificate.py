"""What an erasure certifies: what was removed where, what goes when, what is kept and why. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from topics.registry import CART_ABANDONED, CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS, TopicSpec


class Copy(msgspec.Struct, frozen=True):
    """What a copy of a cart held: lines shown, and operations of the last 20 minutes."""

    lines: int = 0
    operations: int = 0


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How much was removed.

    `redis` and `row` are the cart in Redis and in Postgres. `outbox_entries` are its changes that waited in
    Redis for Kafka. `orders`, `checkouts`, `transfers` (of merges) and `mails` are rows of Postgres that held
    something personal, `changes` the rows of the history; `links` led to the cart, in messages about a cart
    left behind.
    """

    redis: Copy
    row: Copy
    outbox_entries: int
    orders: int
    checkouts: int
    transfers: int
    mails: int
    changes: int
    links: int


class Expires(msgspec.Struct, frozen=True):
    """Old records that Kafka itself removes: all are gone by `by`."""

    topic: str
    records: str
    by: datetime


class Kept(msgspec.Struct, frozen=True):
    """What stays, and why."""

    what: str
    why: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure. `complete`: every store was seen to have done it; else `waits_for` says what is under way.

    `version` is the version number up to which the cart is erased. `merged_guests` are guests' carts that
    were merged into it, perhaps by way of another: they are carts of their own, to be erased by themselves.
    """

    erasure_id: str
    cart_id: str
    erased_at: datetime
    version: int
    complete: bool
    waits_for: list[str]
    removed: Removed
    merged_guests: list[str]
    expires: list[Expires]
    kept: list[Kept]


def expires(at: datetime) -> list[Expires]:
    """What Kafka still has of a cart erased at `at`, and by when it is gone."""
    return [Expires(spec.name, what, at + spec.outlived_by) for spec, what in IN_TOPICS]


IN_TOPICS: Final[tuple[tuple[TopicSpec, str], ...]] = (
    (CART_CHANGED, "the changes that made the cart"),
    (CARTS, "earlier states of the cart"),
    (ORDERS, "earlier versions of the orders"),
    (CART_ABANDONED, "that the cart was left behind, and its lines"),
    (DEAD_LETTERS, "changes and orders that could not be processed"),
)
"""Where old records of a cart stay for a while, and what they are."""

KEPT: Final = [
    Kept(
        "the cart's id, its version numbers and the ids of its orders", "no late record may revive the cart"
    ),
    Kept("orders: products, names, quantities, amounts, times, line ids", "bookkeeping"),
    Kept("mails that were sent", "they are with the recipient"),
    Kept("a hash of the address that unsubscribed from mails", "no mail is sent to it again"),
]
"""What an erasure leaves in the stores."""
