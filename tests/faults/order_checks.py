"""What must hold of orders, stock and mails after a run: pure functions, as those of `checks`.

They trust the product in no sum: what was sold is counted from the orders' own lines, what was given back
from their status, what there was to begin with from the history.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from carts.state import State
from gateway.http.problems import ORDER_NOT_FOUND
from tests.faults.catalogue import price
from tests.faults.erasures import erasures
from tests.faults.history import Add, Began, Forgets, Record, writes
from tests.faults.order_records import CheckOut, Outcome, Stocked
from tests.faults.request_history import RequestHistory, cancels, checkouts, looks
from tests.faults.sales import Kept
from tests.faults.schedule import Kind
from tests.faults.stores import Check, Stores, Violation, copy_of
from tests.faults.versions import borders, is_calm
from topics.records import OrderStatus

LOST: Final = "lost"
DOUBLED: Final = "doubled"
UNEQUAL: Final = "stores differ"
MAIL_AGENT: Final = "sink-mail"
HANDS: Final = 4
"""Mails that the agent sends at once, and may send again when it dies."""


def acknowledged_orders_are_kept(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each acknowledged checkout is one order, the same in every reply and in the table."""
    kept = {order.order_id: order for order in stores.sales.orders}
    found = []
    for request in checkouts(history):
        told = {(reply.order_id, reply.seq) for reply in request.replies}
        if len(told) > 1:
            found.append(_about(DOUBLED, request, f"one checkout, {len(told)} orders: {sorted(told)}"))
        for reply in request.replies:
            order = kept.get(reply.order_id)
            if order is None or (order.cart_id, order.key) != (request.cart_id, request.key):
                found.append(_about(LOST, request, f"{reply.order_id} was acknowledged; kept is {order}"))
            elif (order.record.seq, order.lines()) != (reply.seq, reply.lines):
                found.append(_about("garbled", request, f"told {reply.lines}, kept {order.lines()}"))
    return found


def every_order_was_asked_for(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each order is that of a checkout that was not refused, alone; a cart's orders are numbered from 1."""
    asked = {(request.cart_id, request.key): request for request in checkouts(history)}
    found = []
    for (cart_id, key), count in Counter((order.cart_id, order.key) for order in stores.sales.orders).items():
        request = asked.get((cart_id, key))
        if request is None:
            found.append(Violation("stranger", cart_id, f"an order with key {key}, and nobody asked for it"))
        elif request.outcome is Outcome.REFUSED:
            found.append(_about("done though refused", request, "there is an order"))
        if count > 1:
            found.append(Violation(DOUBLED, cart_id, f"{count} orders with key {key}"))
    for cart_id, orders in _by_cart(stores.sales.orders).items():
        numbers = [order.record.seq for order in orders]
        if numbers != list(range(1, len(orders) + 1)):
            found.append(Violation(DOUBLED, cart_id, f"its orders are numbered {numbers}"))
    return found


def orders_have_what_was_in_the_cart(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Where only adds happen: what was in Kafka before a checkout began is in its order or an earlier one.

    Unless Redis fell back to an older copy meanwhile, or was wiped while the add was under way.
    """
    sold: dict[str, Counter[str]] = {}
    for orders in _by_cart(stores.sales.orders).values():
        total: Counter[str] = Counter()
        for order in orders:
            total.update(order.lines())
            sold[order.order_id] = Counter(total)
    adds = _adds(history)
    rollbacks = borders(history, {Forgets.NEWEST})
    found = []
    for request in checkouts(history):
        if not request.replies:
            continue
        least: Counter[str] = Counter()
        for add in adds.get(request.cart_id, ()):
            if add.durable_at < request.invoked_at and is_calm(
                rollbacks, add.invoked_at, request.replies[0].at
            ):
                least.update(add.pieces)
        if missing := least - sold.get(request.replies[0].order_id, Counter()):
            found.append(_about(LOST, request, f"was in the cart and not ordered: {dict(missing)}"))
    return found


class _Adds(NamedTuple):
    invoked_at: int
    durable_at: int
    pieces: Counter[str]


def _adds(history: Sequence[Record]) -> dict[str, list[_Adds]]:
    """What got into Kafka undisturbed, by cart, for carts to which nothing but adds happened."""
    wipes = borders(history, {Forgets.EVERYTHING})
    found: dict[str, list[_Adds]] = defaultdict(list)
    mixed = set(erasures(history))
    for operation in writes(history):
        pieces: Counter[str] = Counter()
        for command in operation.commands:
            if isinstance(command, Add):
                pieces[command.line_id] += command.quantity
            else:
                mixed.add(operation.cart_id)
        begun, durable_at = operation.invoked_at, operation.durable_at
        if durable_at is not None and is_calm(wipes, begun, durable_at):
            found[operation.cart_id].append(_Adds(begun, durable_at, pieces))
    return {cart_id: adds for cart_id, adds in found.items() if cart_id not in mixed}


def orders_add_up(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """An order's sum is that of its pieces at the catalogue's prices, and it has at least one piece."""
    found = []
    for order in stores.sales.orders:
        total = sum(pieces * price(line_id) for line_id, pieces in order.lines().items())
        if total != order.record.totals.total or min(order.lines().values(), default=0) < 1:
            found.append(Violation("garbled", order.cart_id, f"{total} by its lines: {order.record}"))
    return found


def no_line_is_negative(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """No order took out of a cart what was not in it."""
    found = []
    for cart_id, states in stores.records.items():
        below = {
            name: line.quantity for name, line in states[-1].content().lines.items() if line.quantity < 0
        }
        if below:
            found.append(Violation(DOUBLED, cart_id, f"taken out of carts more than there was: {below}"))
    copies = {"redis": stores.redis, "postgres": stores.rows}
    copies["carts"] = {cart_id: copy_of(states[-1]) for cart_id, states in stores.records.items()}
    for store, carts in copies.items():
        for cart_id, copy in carts.items():
            if min(copy.lines.values(), default=1) < 1:
                found.append(Violation(DOUBLED, cart_id, f"{store} shows {copy.lines}"))
    return found


def sold_and_left_is_what_there_was(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Per counted product: pieces in orders that stand, and pieces left, are those of the beginning."""
    sold: Counter[str] = Counter()
    for order in stores.sales.orders:
        if order.record.status is OrderStatus.PLACED:
            sold.update(order.lines())
    found = []
    for product_id, pieces in _stocked(history).items():
        product = stores.sales.table.get(product_id)
        left = None if product is None else product.stock
        if left is None or left < 0 or sold[product_id] + left != pieces:
            found.append(
                Violation("miscounted", product_id, f"{sold[product_id]} sold, {left} left, of {pieces}")
            )
    return found


def orders_stand_as_their_cancels_say(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """An order is cancelled if somebody was told so, and only if somebody asked for it."""
    asked = cancels(history)
    found = []
    for order in stores.sales.orders:
        outcomes = {request.outcome for request in asked.get(order.order_id, [])}
        is_cancelled = order.record.status is OrderStatus.CANCELLED
        if is_cancelled and not outcomes - {Outcome.REFUSED}:
            found.append(Violation("done though refused", order.cart_id, f"{order.order_id} is cancelled"))
        if not is_cancelled and Outcome.ACKNOWLEDGED in outcomes:
            found.append(Violation(LOST, order.cart_id, f"{order.order_id} was cancelled and is not"))
    return found


def orders_are_read_as_they_are(history: Sequence[Record], _stores: Stores) -> list[Violation]:
    """An order that was acknowledged is found, cancelled once it was, not before somebody asked for it."""
    asked = cancels(history)
    placed = {reply.order_id: reply.lines for request in checkouts(history) for reply in request.replies}
    found = []
    for request in looks(history):
        order_id = request.order_request.order_id if not isinstance(request.order_request, CheckOut) else ""
        others = asked.get(order_id, [])
        since = min((each.answered_at for each in others if each.answered_at is not None), default=None)
        begun = min((each.invoked_at for each in others), default=None)
        if ORDER_NOT_FOUND.slug in request.reasons:
            found.append(_about(LOST, request, f"{order_id} was not found"))
        for reply in request.replies:
            is_cancelled = reply.status == OrderStatus.CANCELLED
            if not is_cancelled and since is not None and since < request.invoked_at:
                found.append(_about("read went back", request, f"{order_id} is shown as {reply.status}"))
            if is_cancelled and (begun is None or begun > reply.at):
                found.append(_about("done though refused", request, f"{order_id} is shown as cancelled"))
            if reply.lines != placed.get(order_id, reply.lines):
                found.append(_about("garbled", request, f"{order_id} is shown with {reply.lines}"))
    return found


def every_order_is_settled(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """No order waits to be taken out of its cart, and each cart knows its orders."""
    found = []
    for order in stores.sales.orders:
        states = stores.records.get(order.cart_id)
        if not order.settled:
            found.append(Violation("unsettled", order.cart_id, f"{order.order_id} waits for its cart"))
        elif not states or not _knows(states[-1], order.order_id):
            found.append(
                Violation("unsettled", order.cart_id, f"{order.order_id} is settled, carts lacks it")
            )
    return found


def _knows(state: State, order_id: str) -> bool:
    """A run is shorter than the window: the subtraction is in it, unless it was erased with what it took."""
    return any(op.op_id == order_id for op in state.ops) or bool(state.erased)


def the_topic_has_every_order(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """`orders` has each order, its last record is the order as it stands, and it has no others.

    An erasure may have removed the record that it was placed, while that waited to be sent.
    """
    erased = erasures(history)
    kept = {order.order_id: order for order in stores.sales.orders}
    found = [
        Violation("stranger", records[-1].cart_id, f"orders has {order_id}, and Postgres does not")
        for order_id, records in stores.sales.told.items()
        if order_id not in kept
    ]
    for order_id, order in kept.items():
        records = stores.sales.told.get(order_id, [])
        if not records:
            found.append(Violation(LOST, order.cart_id, f"{order_id} is not in orders"))
        elif records[-1] != order.record:
            found.append(
                Violation(UNEQUAL, order.cart_id, f"orders ends {order_id} with {records[-1].status}")
            )
        elif order.record.version > 1 and records[0].version != 1 and order.cart_id not in erased:
            found.append(Violation(LOST, order.cart_id, f"orders never said that {order_id} was placed"))
    return found


def the_cache_has_the_products(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """The products in Redis are those in Postgres, each with its version and its pieces."""
    missing = _stocked(history).keys() - stores.sales.table.keys()
    found = [
        Violation(LOST, product_id, "is not in the catalogue any more") for product_id in sorted(missing)
    ]
    return found + [
        Violation(UNEQUAL, product_id, f"table {product}, cache {stores.sales.cache.get(product_id)}")
        for product_id, product in stores.sales.table.items()
        if stores.sales.cache.get(product_id) != product
    ]


def nothing_waits_for_the_relay(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """The outbox in Postgres is empty."""
    waiting = stores.sales.waiting
    return [Violation("left over", "-", f"{waiting} records wait in Postgres for Kafka")] if waiting else []


def mails_are_sent(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each order with an address has been confirmed, each cancelled one has its notice, no other has any.

    Of an order whose address was erased they may have been sent before.
    """
    erased = erasures(history)
    found = []
    for order in stores.sales.orders:
        if order.cart_id in erased and order.record.email is None:
            continue
        is_cancelled = order.record.status is OrderStatus.CANCELLED
        wanted = order.record.email is not None
        for name, mails, due in (
            ("confirmation", stores.sales.confirmations, wanted),
            ("cancellation", stores.sales.cancellations, wanted and is_cancelled),
        ):
            count = mails.get(order.order_id, 0)
            if due and not count:
                found.append(Violation(LOST, order.cart_id, f"no {name} of {order.order_id}"))
            if count and not due:
                found.append(Violation("stranger", order.cart_id, f"{count} {name} of {order.order_id}"))
    return found


def mails_are_sent_twice_only_by_a_killed_agent(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """A mail comes again only where the agent may have died between the server's word and its own note."""
    ends = sum(
        1
        for record in history
        if isinstance(record, Began)
        and record.target == MAIL_AGENT
        and record.fault in {Kind.KILL, Kind.RESTART, Kind.LONG_FREEZE}
    )
    again = mails_sent_again(stores)
    if again <= HANDS * ends:
        return []
    return [Violation(DOUBLED, "-", f"{again} mails came again, the agent ended {ends} times")]


def mails_sent_again(stores: Stores) -> int:
    """How many mails came more than once, each time counted."""
    kept = {order.order_id for order in stores.sales.orders}
    mails = (stores.sales.confirmations, stores.sales.cancellations)
    return sum(count - 1 for counts in mails for order_id, count in counts.items() if order_id in kept)


def _stocked(history: Iterable[Record]) -> Mapping[str, int]:
    return {record.product_id: record.pieces for record in history if isinstance(record, Stocked)}


def _by_cart(orders: Iterable[Kept]) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = defaultdict(list)
    for order in sorted(orders, key=lambda order: order.record.seq):
        found[order.cart_id].append(order)
    return found


def _about(what: str, request: RequestHistory, detail: str) -> Violation:
    return Violation(what, request.cart_id, f"request {request.op} ({request.key}): {detail}")


ORDER_CHECKS: Final[tuple[Check, ...]] = (
    acknowledged_orders_are_kept,
    every_order_was_asked_for,
    orders_have_what_was_in_the_cart,
    orders_add_up,
    no_line_is_negative,
    sold_and_left_is_what_there_was,
    orders_stand_as_their_cancels_say,
    orders_are_read_as_they_are,
    every_order_is_settled,
    the_topic_has_every_order,
    the_cache_has_the_products,
    nothing_waits_for_the_relay,
    mails_are_sent,
    mails_are_sent_twice_only_by_a_killed_agent,
)

ORDERS_CONVERGING: Final[tuple[Check, ...]] = (
    every_order_is_settled,
    the_topic_has_every_order,
    the_cache_has_the_products,
    nothing_waits_for_the_relay,
    mails_are_sent,
)
"""Those of them that become true when everything in flight has landed."""
