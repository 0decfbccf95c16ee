"""What a history says of each errand with orders, over all attempts at it."""

from collections.abc import Iterable, Sequence

import msgspec

from tests.faults.history import Fail, Record
from tests.faults.order_records import Asked, Cancel, CheckOut, Errand, Look, Ordered, Outcome


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """All that the history says of one errand.

    `invoked_at` is the time of its first attempt, `answered_at` when an order was first the answer, `reasons`
    are those of its refusals; that nobody was there to be asked is one, too.
    """

    op: int
    client: int
    cart_id: str
    key: str | None
    errand: Errand
    invoked_at: int
    answered_at: int | None
    outcome: Outcome
    replies: tuple[Ordered, ...]
    reasons: frozenset[str]


def trips(records: Iterable[Record]) -> list[Trip]:
    """The errands of a history, in the order of their first attempts."""
    asked: dict[int, list[Asked]] = {}
    replies: dict[int, list[Record]] = {}
    for record in records:
        if isinstance(record, Asked):
            asked.setdefault(record.op, []).append(record)
        elif isinstance(record, Ordered | Fail):
            replies.setdefault(record.op, []).append(record)
    return [_trip(attempts, replies.get(op, [])) for op, attempts in asked.items()]


def checkouts(records: Iterable[Record]) -> list[Trip]:
    """The errands that asked for an order."""
    return [trip for trip in trips(records) if isinstance(trip.errand, CheckOut)]


def cancels(records: Iterable[Record]) -> dict[str, list[Trip]]:
    """By order, the errands that asked for it to be cancelled."""
    found: dict[str, list[Trip]] = {}
    for trip in trips(records):
        if isinstance(trip.errand, Cancel):
            found.setdefault(trip.errand.order_id, []).append(trip)
    return found


def looks(records: Iterable[Record]) -> list[Trip]:
    """The errands that asked for an order as it is."""
    return [trip for trip in trips(records) if isinstance(trip.errand, Look)]


def _trip(attempts: Sequence[Asked], replies: Sequence[Record]) -> Trip:
    first = attempts[0]
    orders = tuple(reply for reply in replies if isinstance(reply, Ordered))
    if orders:
        outcome = Outcome.ACKNOWLEDGED
    elif sum(1 for reply in replies if isinstance(reply, Fail)) == len(attempts):
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.UNKNOWN
    return Trip(
        op=first.op,
        client=first.client,
        cart_id=first.cart_id,
        key=first.key,
        errand=first.errand,
        invoked_at=first.at,
        answered_at=min((order.at for order in orders), default=None),
        outcome=outcome,
        replies=orders,
        reasons=frozenset(reply.reason for reply in replies if isinstance(reply, Fail)),
    )
