"""What a history says of each order request, over all attempts at it."""

from collections.abc import Iterable, Sequence

import msgspec

from tests.faults.history import Fail, Record
from tests.faults.order_records import Cancel, CheckOut, Look, OrderAttempt, Ordered, OrderRequest, Outcome


class RequestHistory(msgspec.Struct, frozen=True, kw_only=True):
    """All that the history says of one order request.

    `invoked_at` is the time of its first attempt, `answered_at` when an order was first the answer, `reasons`
    are those of its refusals; that nobody was there to be asked is one, too.
    """

    op: int
    client: int
    cart_id: str
    key: str | None
    order_request: OrderRequest
    invoked_at: int
    answered_at: int | None
    outcome: Outcome
    replies: tuple[Ordered, ...]
    reasons: frozenset[str]


def request_histories(records: Iterable[Record]) -> list[RequestHistory]:
    """The order requests of a history, in the order of their first attempts."""
    asked: dict[int, list[OrderAttempt]] = {}
    replies: dict[int, list[Record]] = {}
    for record in records:
        if isinstance(record, OrderAttempt):
            asked.setdefault(record.op, []).append(record)
        elif isinstance(record, Ordered | Fail):
            replies.setdefault(record.op, []).append(record)
    return [_request_history(attempts, replies.get(op, [])) for op, attempts in asked.items()]


def checkouts(records: Iterable[Record]) -> list[RequestHistory]:
    """The requests to place an order."""
    return [request for request in request_histories(records) if isinstance(request.order_request, CheckOut)]


def cancels(records: Iterable[Record]) -> dict[str, list[RequestHistory]]:
    """By order, the requests to cancel it."""
    found: dict[str, list[RequestHistory]] = {}
    for request in request_histories(records):
        if isinstance(request.order_request, Cancel):
            found.setdefault(request.order_request.order_id, []).append(request)
    return found


def looks(records: Iterable[Record]) -> list[RequestHistory]:
    """The requests to show an order."""
    return [request for request in request_histories(records) if isinstance(request.order_request, Look)]


def _request_history(attempts: Sequence[OrderAttempt], replies: Sequence[Record]) -> RequestHistory:
    first = attempts[0]
    orders = tuple(reply for reply in replies if isinstance(reply, Ordered))
    if orders:
        outcome = Outcome.ACKNOWLEDGED
    elif sum(1 for reply in replies if isinstance(reply, Fail)) == len(attempts):
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.UNKNOWN
    return RequestHistory(
        op=first.op,
        client=first.client,
        cart_id=first.cart_id,
        key=first.key,
        order_request=first.order_request,
        invoked_at=first.at,
        answered_at=min((order.at for order in orders), default=None),
        outcome=outcome,
        replies=orders,
        reasons=frozenset(reply.reason for reply in replies if isinstance(reply, Fail)),
    )
