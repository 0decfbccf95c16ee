"""Each check of orders passes on a sound history and fails on the one fault it is there to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from carts.operations import Add as AddStep
from carts.operations import Attempt, Change, Item, OrderedLine, Subtract
from carts.products import Product
from carts.view import Totals
from tests.faults import checks, order_checks
from tests.faults.arrived import arrived
from tests.faults.caller import NOT_CONNECTED
from tests.faults.catalogue import price
from tests.faults.checks import violations
from tests.faults.history import Add, Began, Ended, Fail, Forgets, Invoke, Ok, Record, Unknown
from tests.faults.order_records import Cancel, CheckOut, Look, OrderAttempt, Ordered, OrderRequest, Stocked
from tests.faults.sales import Kept, Sales
from tests.faults.stores import Check, Stores
from topics.records import OrderLine, OrderRecord, OrderStatus

CART = "guest:shopped-1"
RARE = "rare"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EMAIL = "a@shop.example"


def _add(v: int, key: str, pieces: int) -> Change:
    step = AddStep(RARE, pieces, price(RARE), "EUR", Item(RARE))
    return Change(cart_id=CART, version=v, op_id=key, delta=(step,), previous_version=v - 10, born=2)


def _subtract(v: int, order_id: str, pieces: int, attempts: Mapping[str, int], sv: int) -> Change:
    named = tuple(Attempt(key, at) for key, at in attempts.items())
    step = Subtract((OrderedLine(RARE, pieces, 0),), named, sv, order_id)
    return Change(cart_id=CART, version=v, op_id=order_id, delta=(step,), previous_version=v - 10, born=2)


def _order(order_id: str, seq: int, pieces: int) -> OrderRecord:
    total = pieces * price(RARE)
    return OrderRecord(
        order_id=order_id,
        cart_id=CART,
        seq=seq,
        status=OrderStatus.PLACED,
        version=1,
        currency="EUR",
        lines=[OrderLine(RARE, RARE, pieces, price(RARE))],
        totals=Totals(subtotal=total, discount=0, tax=0, total=total),
        placed_at=NOW,
        email=EMAIL,
    )


FIRST, SECOND = _order("o_1", 1, 3), _order("o_2", 2, 2)
CANCELLED = msgspec.structs.replace(SECOND, status=OrderStatus.CANCELLED, version=2, cancelled_at=NOW)
LEFT = Product(
    product_id=RARE, name=RARE, unit_price=price(RARE), currency="EUR", stock=7, version=4, updated_at=NOW
)
CHANGES = (
    _add(10, "k1", 3),
    _subtract(20, "o_1", 3, {"k1": 10}, 10),
    _add(30, "k2", 2),
    _subtract(40, "o_2", 2, {"k1": 10, "k2": 30}, 30),
    _add(50, "k3", 1),
)
KEPT = (Kept(FIRST, "c1", settled=True), Kept(CANCELLED, "c2", settled=True))
SALES = Sales(
    orders=KEPT,
    told={"o_1": [FIRST], "o_2": [SECOND, CANCELLED]},
    table={RARE: LEFT},
    cache={RARE: LEFT},
    confirmations={"o_1": 1, "o_2": 1},
    cancellations={"o_2": 1},
)


def _stores(changes: Sequence[Change] = CHANGES, sales: Sales = SALES) -> Stores:
    return arrived(changes, sales)


def _selling(**changes: Any) -> Stores:
    return _stores(sales=msgspec.structs.replace(SALES, **changes))


def _added(op: int, at: int, key: str, pieces: int, v: int) -> list[Record]:
    commands = (Add(RARE, pieces, price(RARE)),)
    return [
        Invoke(at=at, op=op, attempt=1, client=0, cart_id=CART, key=key, commands=commands),
        Ok(at=at + 1, op=op, attempt=1, version=f"{v}-{op}-0", durability="kafka"),
    ]


def _asked(op: int, at: int, order_request: OrderRequest, key: str | None = None) -> OrderAttempt:
    return OrderAttempt(at=at, op=op, attempt=1, client=0, cart_id=CART, order_request=order_request, key=key)


def _ordered(op: int, at: int, order: OrderRecord) -> Ordered:
    lines = {line.line_id: line.quantity for line in order.lines}
    return Ordered(
        at=at,
        op=op,
        attempt=1,
        order_id=order.order_id,
        seq=order.seq,
        status=order.status.value,
        lines=lines,
        total=order.totals.total,
    )


STOCKED = Stocked(at=0, product_id=RARE, pieces=10)
HISTORY: tuple[Record, ...] = (
    STOCKED,
    *_added(1, 1, "k1", 3, 10),
    _asked(2, 3, CheckOut(EMAIL), "c1"),
    _ordered(2, 4, FIRST),
    *_added(3, 5, "k2", 2, 30),
    _asked(4, 7, CheckOut(EMAIL), "c2"),
    Unknown(at=8, op=4, attempt=1, reason="timeout"),
    *_added(5, 9, "k3", 1, 50),
    _asked(6, 11, Cancel("o_2")),
    _ordered(6, 12, CANCELLED),
    _asked(7, 13, Look("o_2")),
    _ordered(7, 14, CANCELLED),
    _asked(8, 15, CheckOut(EMAIL), "c3"),
    Fail(at=16, op=8, attempt=1, reason="cart-outdated"),
)
SOUND = _stores()
OF_C3 = Kept(_order("o_3", 3, 1), "c3", settled=True)
ALSO_OF_C3 = Kept(_order("o_4", 4, 1), "c3", settled=True)


def test_a_sound_history_of_orders_has_no_violations() -> None:
    assert violations(HISTORY, SOUND) == []


def test_an_order_that_was_never_answered_may_be_missing() -> None:
    never = [record for record in HISTORY if getattr(record, "op", 0) not in {6, 7}]
    changes = (*CHANGES[:3], CHANGES[4])
    sales = Sales(
        orders=KEPT[:1],
        told={"o_1": [FIRST]},
        table={RARE: LEFT},
        cache={RARE: LEFT},
        confirmations={"o_1": 1},
    )
    assert violations(never, _stores(changes, sales)) == []


@dataclass(frozen=True)
class Broken:
    """One thing that is wrong, the check that must see it, and what it must say."""

    check: Check
    says: str
    stores: Stores = SOUND
    history: Sequence[Record] = HISTORY


def _without(op: int, *instead: Record) -> list[Record]:
    """The history with other records in the place of an order request's answer."""
    return [
        record for record in HISTORY if getattr(record, "op", 0) != op or isinstance(record, OrderAttempt)
    ] + [*instead]


def _killed(fault: str) -> list[Record]:
    return [
        *HISTORY,
        Began(at=20, fault=fault, target="sink-mail"),
        Ended(at=21, fault=fault, target="sink-mail"),
    ]


TWICE = (*CHANGES, _subtract(60, "o_1-again", 3, {}, 50))
FEWER = msgspec.structs.replace(FIRST, lines=[OrderLine(RARE, RARE, 1, price(RARE))])
BROKEN = {
    "an acknowledged order is nowhere": Broken(
        order_checks.acknowledged_orders_are_kept, "lost", _selling(orders=KEPT[1:])
    ),
    "one checkout was answered with two orders": Broken(
        order_checks.acknowledged_orders_are_kept,
        "doubled",
        history=[*HISTORY, _ordered(8, 17, OF_C3.record), _ordered(8, 18, ALSO_OF_C3.record)],
        stores=_selling(orders=[*KEPT, OF_C3, ALSO_OF_C3]),
    ),
    "an order has other lines than was told": Broken(
        order_checks.acknowledged_orders_are_kept,
        "garbled",
        _selling(orders=[Kept(FEWER, "c1", settled=True), KEPT[1]]),
    ),
    "there is an order that nobody asked for": Broken(
        order_checks.every_order_was_asked_for,
        "stranger",
        _selling(orders=[*KEPT, Kept(_order("o_3", 3, 1), "c9", settled=True)]),
    ),
    "a refused checkout has an order": Broken(
        order_checks.every_order_was_asked_for, "done though refused", _selling(orders=[*KEPT, OF_C3])
    ),
    "an order was placed twice": Broken(
        order_checks.every_order_was_asked_for,
        "doubled",
        _selling(orders=[*KEPT, Kept(_order("o_3", 3, 2), "c2", settled=True)]),
    ),
    "two orders have one number": Broken(
        order_checks.every_order_was_asked_for,
        "doubled",
        _selling(orders=[KEPT[0], Kept(_order("o_2", 1, 2), "c2", settled=True)]),
    ),
    "an order lacks what was in the cart": Broken(
        order_checks.orders_have_what_was_in_the_cart,
        "lost",
        _selling(orders=[Kept(FEWER, "c1", settled=True), KEPT[1]]),
    ),
    "an order's sum is not that of its pieces": Broken(
        order_checks.orders_add_up, "garbled", _selling(orders=[Kept(FEWER, "c1", settled=True), KEPT[1]])
    ),
    "an order is subtracted twice": Broken(order_checks.no_line_is_negative, "doubled", _stores(TWICE)),
    "an order is subtracted twice, and the sums tell": Broken(
        checks.quantities_add_up, "lost", _stores((*CHANGES, _subtract(60, "o_1-again", 1, {}, 50)))
    ),
    "a subtraction is of no order": Broken(checks.every_entry_was_asked_for, "stranger", _stores(TWICE)),
    "an order has not left its cart": Broken(
        checks.lines_follow_from_the_requests,
        "doubled",
        msgspec.structs.replace(SOUND, rows=_stores((*CHANGES[:3], CHANGES[4])).rows),
    ),
    "an order has not left its cart, and the sums tell": Broken(
        checks.quantities_add_up, "doubled", _stores((*CHANGES[:3], CHANGES[4]))
    ),
    "the pieces of a cancelled order were not given back": Broken(
        order_checks.sold_and_left_is_what_there_was,
        "miscounted",
        _selling(table={RARE: msgspec.structs.replace(LEFT, stock=5)}),
    ),
    "more was sold than there was": Broken(
        order_checks.sold_and_left_is_what_there_was,
        "miscounted",
        history=[Stocked(at=0, product_id=RARE, pieces=2), *HISTORY[1:]],
        stores=_selling(table={RARE: msgspec.structs.replace(LEFT, stock=0)}),
    ),
    "an order was cancelled and is not": Broken(
        order_checks.orders_stand_as_their_cancels_say,
        "lost",
        _selling(orders=[KEPT[0], Kept(SECOND, "c2", settled=True)]),
    ),
    "an order is cancelled and nobody asked for it": Broken(
        order_checks.orders_stand_as_their_cancels_say,
        "done though refused",
        history=[record for record in HISTORY if getattr(record, "op", 0) != 6],
    ),
    "a cancelled order is shown as placed": Broken(
        order_checks.orders_are_read_as_they_are,
        "read went back",
        history=_without(7, _ordered(7, 14, SECOND)),
    ),
    "an order is not found": Broken(
        order_checks.orders_are_read_as_they_are,
        "lost",
        history=_without(7, Fail(at=14, op=7, attempt=1, reason="order-not-found")),
    ),
    "an order is shown as cancelled before anybody asked for it": Broken(
        order_checks.orders_are_read_as_they_are,
        "done though refused",
        history=[record for record in HISTORY if getattr(record, "op", 0) != 6],
    ),
    "an order waits to leave its cart": Broken(
        order_checks.every_order_is_settled,
        "unsettled",
        _selling(orders=[KEPT[0], Kept(CANCELLED, "c2", settled=False)]),
    ),
    "a cart does not know its order": Broken(
        order_checks.every_order_is_settled, "unsettled", _stores((*CHANGES[:3], CHANGES[4]))
    ),
    "an order is not in the topic": Broken(
        order_checks.the_topic_has_every_order, "lost", _selling(told={"o_2": [SECOND, CANCELLED]})
    ),
    "the topic ends an order with what it was before": Broken(
        order_checks.the_topic_has_every_order,
        "stores differ",
        _selling(told={"o_1": [FIRST], "o_2": [SECOND, CANCELLED, SECOND]}),
    ),
    "the topic has an order that was rolled back": Broken(
        order_checks.the_topic_has_every_order,
        "stranger",
        _selling(told={**SALES.told, "o_3": [_order("o_3", 3, 1)]}),
    ),
    "the topic never had an order before it was cancelled": Broken(
        order_checks.the_topic_has_every_order, "lost", _selling(told={"o_1": [FIRST], "o_2": [CANCELLED]})
    ),
    "the cache has an older product": Broken(
        order_checks.the_cache_has_the_products,
        "stores differ",
        _selling(cache={RARE: msgspec.structs.replace(LEFT, stock=8, version=3)}),
    ),
    "the cache lacks a product": Broken(
        order_checks.the_cache_has_the_products, "stores differ", _selling(cache={RARE: None})
    ),
    "a product is gone": Broken(
        order_checks.the_cache_has_the_products, "lost", _selling(table={}, cache={})
    ),
    "the relay has not sent something": Broken(
        order_checks.nothing_waits_for_the_relay, "left over", _selling(waiting=1)
    ),
    "an order was not confirmed": Broken(
        order_checks.mails_are_sent, "lost", _selling(confirmations={"o_2": 1})
    ),
    "a cancelled order has no notice": Broken(
        order_checks.mails_are_sent, "lost", _selling(cancellations={})
    ),
    "an order that stands has a notice of its end": Broken(
        order_checks.mails_are_sent, "stranger", _selling(cancellations={"o_1": 1, "o_2": 1})
    ),
    "a mail came twice and nobody had killed the agent": Broken(
        order_checks.mails_are_sent_twice_only_by_a_killed_agent,
        "doubled",
        _selling(confirmations={"o_1": 2, "o_2": 1}),
    ),
    "more mails came twice than a kill explains": Broken(
        order_checks.mails_are_sent_twice_only_by_a_killed_agent,
        "doubled",
        _selling(confirmations={"o_1": 6, "o_2": 1}),
        _killed("kill -9"),
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_the_check_sees_that(broken: Broken) -> None:
    found = broken.check(broken.history, broken.stores)
    assert {violation.what for violation in found} == {broken.says}


def test_an_order_that_nobody_could_be_asked_for_is_not_missing() -> None:
    history = _without(7, Fail(at=14, op=7, attempt=1, reason=NOT_CONNECTED))
    assert order_checks.orders_are_read_as_they_are(history, SOUND) == []


def test_every_check_of_orders_has_been_seen_to_fail() -> None:
    assert {broken.check for broken in BROKEN.values()} >= set(order_checks.ORDER_CHECKS)


def test_a_mail_may_come_twice_when_the_agent_was_killed() -> None:
    twice = _selling(confirmations={"o_1": 2, "o_2": 1})
    assert order_checks.mails_are_sent_twice_only_by_a_killed_agent(_killed("kill -9"), twice) == []
    assert order_checks.mails_are_sent_twice_only_by_a_killed_agent(_killed("freeze"), twice) != []


LACKING = _selling(orders=[Kept(FEWER, "c1", settled=True)])


def _forgetting(at: int, forgets: Forgets) -> list[Record]:
    """An add from 10 to 20, a checkout from 30 to 40, and a fault."""
    records = [msgspec.structs.replace(record, at=10 * record.at) for record in HISTORY[:5]]
    fault = (
        Began(at=at, fault="f", target="redis", forgets=forgets),
        Ended(at=at + 1, fault="f", target="redis"),
    )
    return [*records, *fault]


@pytest.mark.parametrize(
    ("at", "forgets"),
    [(15, Forgets.NEWEST), (25, Forgets.NEWEST), (35, Forgets.NEWEST), (15, Forgets.EVERYTHING)],
)
def test_an_order_may_lack_what_redis_had_forgotten(at: int, forgets: Forgets) -> None:
    assert order_checks.orders_have_what_was_in_the_cart(_forgetting(at, forgets), LACKING) == []


@pytest.mark.parametrize(
    ("at", "forgets"),
    [(5, Forgets.NEWEST), (25, Forgets.EVERYTHING), (15, Forgets.NOTHING), (45, Forgets.NEWEST)],
)
def test_an_order_has_what_was_in_the_cart_whatever_else_breaks(at: int, forgets: Forgets) -> None:
    assert order_checks.orders_have_what_was_in_the_cart(_forgetting(at, forgets), LACKING) != []


def test_a_second_attempt_behind_an_order_that_has_counted_the_first_puts_nothing_back() -> None:
    again = (*CHANGES, _add(60, "k1", 3))
    assert violations(HISTORY, _stores(again)) == []
