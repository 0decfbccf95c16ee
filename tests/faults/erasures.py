"""What must hold of erasures after a run, and what a history says of when a cart was erased."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from carts.ids import SYSTEM_OP_PREFIX
from tests.faults.arithmetic import erased_versions, is_erasure
from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import Fail, Operation, Record, writes
from tests.faults.order_records import CheckOut
from tests.faults.request_history import checkouts
from tests.faults.stores import Check, Stores, Violation

ERASURE_PREFIX: Final = f"{SYSTEM_OP_PREFIX}erase/"


class Erasure(msgspec.Struct, frozen=True):
    """An attempt that was not refused; `answered_at` and `reply` are None where nobody told its outcome."""

    cart_id: str
    invoked_at: int
    answered_at: int | None
    reply: Erased | None


def erasures(records: Iterable[Record]) -> dict[str, list[Erasure]]:
    """By cart, the attempts to erase it that were not refused."""
    asked: dict[tuple[int, int], EraseAttempt] = {}
    replies: dict[tuple[int, int], Erased] = {}
    refused: set[tuple[int, int]] = set()
    for record in records:
        match record:
            case EraseAttempt():
                asked[record.op, record.attempt] = record
            case Erased():
                replies[record.op, record.attempt] = record
            case Fail():
                refused.add((record.op, record.attempt))
            case _:
                pass
    found: dict[str, list[Erasure]] = defaultdict(list)
    for key, attempt in asked.items():
        if key not in refused:
            reply = replies.get(key)
            at = None if reply is None else reply.at
            found[attempt.cart_id].append(Erasure(attempt.cart_id, attempt.at, at, reply))
    return dict(found)


def is_surely_erased(operation: Operation, of_cart: Sequence[Erasure]) -> bool:
    """Whether nothing of the operation was under way any more when an erasure began that was certified."""
    ended = operation.ended_at
    return ended is not None and any(
        erasure.reply is not None and ended < erasure.invoked_at for erasure in of_cart
    )


def is_surely_kept(operation: Operation, of_cart: Sequence[Erasure]) -> bool:
    """Whether the operation began when every erasure of its cart had been certified."""
    return all(
        erasure.answered_at is not None and erasure.answered_at < operation.invoked_at for erasure in of_cart
    )


def operations_erased(history: Iterable[Record], stores: Stores) -> set[int]:
    """The numbers of the operations whose every attempt is of before an erasure of their cart.

    One that waited for Kafka when the cart was erased never gets there: a reply that shows the cart with it,
    of before the erasure, tells that it was made by then.
    """
    erased = erased_versions(stores)
    newest: dict[tuple[str, str | None], int] = {}
    for record in stores.published:
        key = (record.change.cart_id, record.change.op_id)
        newest[key] = max(record.change.version, newest.get(key, 0))
    found = set()
    for operation in writes(history):
        shown = (int(ok.version.partition("-")[0]) for ok in operation.oks)
        made = newest.get((operation.cart_id, operation.key)) or min(shown, default=None)
        if made is not None and made < erased.get(operation.cart_id, 0):
            found.add(operation.op)
    return found


def erasures_are_done(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each certified erasure is in `cart-changed` with its version; none is there that nobody asked for."""
    published = {
        (record.change.cart_id, record.change.op_id): record.change.version
        for record in stores.published
        if is_erasure(record.change)
    }
    found = []
    asked = erasures(history)
    for cart_id, attempts in asked.items():
        for reply in (attempt.reply for attempt in attempts if attempt.reply is not None):
            version = published.get((cart_id, ERASURE_PREFIX + reply.erasure_id))
            if version != reply.version:
                found.append(
                    Violation("not erased", cart_id, f"certified {reply}, cart-changed has {version}")
                )
    for cart_id, count in Counter(cart_id for cart_id, _ in published).items():
        if count > len(asked.get(cart_id, ())):
            found.append(Violation("stranger", cart_id, f"{count} erasures, fewer were asked for"))
    return found


def erased_is_what_was_there_before(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """What had ended before an erasure began is below its version; what began after all of them is above."""
    asked, erased = erasures(history), erased_versions(stores)
    versions: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for record in stores.published:
        versions[record.change.cart_id, record.change.op_id].append(record.change.version)
    found = []
    for operation in writes(history):
        of_cart = asked.get(operation.cart_id, [])
        made = versions.get((operation.cart_id, operation.key), [])
        if not of_cart or not made:
            continue
        below = erased.get(operation.cart_id, 0)
        if is_surely_erased(operation, of_cart) and max(made) >= below:
            found.append(
                Violation("not erased", operation.cart_id, f"{operation.key} has {made}, erased: {below}")
            )
        if is_surely_kept(operation, of_cart) and min(made) <= below:
            found.append(Violation("lost", operation.cart_id, f"{operation.key} has {made}, erased: {below}"))
    return found


def nothing_of_before_is_left(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """No state in `carts` after the erasure has an operation of before in its window."""
    erased = erased_versions(stores)
    return [
        Violation("not erased", cart_id, f"{entry.op_id} of {entry.version} is there, erased: {version}")
        for cart_id, version in erased.items()
        for entry in (stores.records[cart_id][-1].ops if stores.records.get(cart_id) else ())
        if entry.version < version
    ]


def orders_forget_whom_they_were_for(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """An order placed before an erasure began has no address any more; one of another cart has kept it."""
    asked = erasures(history)
    addresses = {
        (request.cart_id, request.key): request.order_request.email
        for request in checkouts(history)
        if isinstance(request.order_request, CheckOut)
    }
    answered = {reply.order_id: reply.at for request in checkouts(history) for reply in request.replies[:1]}
    found = []
    for order in stores.sales.orders:
        of_cart = asked.get(order.cart_id, [])
        email = addresses.get((order.cart_id, order.key))
        placed = answered.get(order.order_id)
        if order.record.email is None and email is not None and not of_cart:
            found.append(Violation("lost", order.cart_id, f"{order.order_id} has forgotten {email}"))
        if order.record.email is not None and placed is not None:
            later = [each for each in of_cart if each.reply is not None and placed < each.invoked_at]
            if later:
                found.append(
                    Violation("not erased", order.cart_id, f"{order.order_id} has {order.record.email}")
                )
    return found


def certified(history: Iterable[Record]) -> int:
    """How many erasures were certified."""
    return sum(isinstance(record, Erased) for record in history)


ERASURE_CHECKS: Final[tuple[Check, ...]] = (
    erasures_are_done,
    erased_is_what_was_there_before,
    nothing_of_before_is_left,
    orders_forget_whom_they_were_for,
)
