"""Each check of erasures passes on a sound history and fails on the one fault it is there to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest

from carts.operations import Add as AddStep
from carts.operations import Change, Erase, Item, Step
from carts.operations import Save as SaveStep
from carts.operations import SetDetails as DetailsStep
from carts.operations import SetMetadata as MetadataStep
from carts.view import Totals
from tests.faults import checks, erasures
from tests.faults.arithmetic import Deed, Forgotten, expected_contents
from tests.faults.arrived import arrived
from tests.faults.catalogue import price
from tests.faults.checks import violations
from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import Add, Command, Detail, Fail, Invoke, Note, Ok, Record, Save, Unknown
from tests.faults.order_records import CheckOut, OrderAttempt, Ordered
from tests.faults.sales import Kept, Sales
from tests.faults.stores import Check, Stores
from topics.records import OrderLine, OrderRecord, OrderStatus

CART = "guest:erased-3"
ORDERED = "guest:ordered-0"
EMAIL = "a@shop.example"


def _change(v: int, key: str, *steps: Step, cart_id: str = CART) -> Change:
    return Change(cart_id=cart_id, version=v, op_id=key, delta=steps, previous_version=0, born=2)


def _add(v: int, key: str, pieces: int) -> Change:
    return _change(v, key, AddStep("a", pieces, price("a"), "EUR", Item("a")))


def _erase(v: int, erasure_id: str, cart_id: str = CART) -> Change:
    return _change(v, f"!erase/{erasure_id}", Erase(), cart_id=cart_id)


def _asked(op: int, at: int, key: str, *commands: Command) -> list[Record]:
    return [
        Invoke(at=at, op=op, attempt=1, client=0, cart_id=CART, key=key, commands=commands),
        Ok(at=at + 1, op=op, attempt=1, version=f"{op}-{op}-0", durability="kafka"),
    ]


def _erased(op: int, at: int, erasure_id: str, version: int, cart_id: str = CART) -> list[Record]:
    return [
        EraseAttempt(at=at, op=op, attempt=1, client=0, cart_id=cart_id),
        Erased(at=at + 1, op=op, attempt=1, erasure_id=erasure_id, version=version, complete=True),
    ]


def _order(email: str | None) -> Kept:
    total = Totals(subtotal=price("a"), discount=0, tax=0, total=price("a"))
    record = OrderRecord(
        order_id="o_1",
        cart_id=ORDERED,
        seq=1,
        status=OrderStatus.PLACED,
        version=1 if email else 2,
        currency="EUR",
        lines=[OrderLine("a", "a", 1, price("a"))],
        totals=total,
        placed_at=datetime(2026, 1, 1, tzinfo=UTC),
        email=email,
    )
    return Kept(record, "c1", settled=True)


CHANGES = [_add(10, "k1", 2), _add(20, "k2", 3), _erase(31, "e1"), _add(40, "k3", 1)]
HISTORY: list[Record] = [
    *_asked(1, 1, "k1", Add("a", 2, price("a"))),
    *_asked(2, 3, "k2", Add("a", 3, price("a"))),
    *_erased(3, 5, "e1", 31),
    *_asked(4, 7, "k3", Add("a", 1, price("a"))),
]
SOUND = arrived(CHANGES)
UNTOLD = [*HISTORY[:5], Unknown(at=6, op=3, attempt=1, reason="timeout"), *HISTORY[6:]]
"""Nobody has told whether the cart was erased."""
CHECKED_OUT: list[Record] = [
    OrderAttempt(at=1, op=1, attempt=1, client=0, cart_id=ORDERED, order_request=CheckOut(EMAIL), key="c1"),
    Ordered(at=2, op=1, attempt=1, order_id="o_1", seq=1, status="placed", lines={"a": 1}, total=1),
]


def _bought(email: str | None) -> Stores:
    return Stores(published=[], records={}, redis={}, rows={}, sales=Sales(orders=[_order(email)]))


def test_a_sound_history_has_no_violations() -> None:
    assert violations(HISTORY, SOUND) == []


def test_nobody_knows_of_an_erasure_that_was_not_answered() -> None:
    for changes in (CHANGES, [*CHANGES[:2], CHANGES[3]]):
        assert violations(UNTOLD, arrived(changes)) == []


def test_what_waited_for_kafka_when_the_cart_was_erased_may_never_get_there() -> None:
    unpublished = arrived([CHANGES[0], *CHANGES[2:]])
    assert checks.acknowledged_operations_are_there(HISTORY, unpublished) == []


def test_an_order_of_an_erased_cart_has_no_address() -> None:
    history = [*CHECKED_OUT, *_erased(2, 3, "e1", 31, ORDERED)]
    assert erasures.orders_forget_whom_they_were_for(history, _bought(None)) == []


@dataclass(frozen=True)
class Broken:
    """One thing that is wrong, the check that must see it, and what it must say."""

    check: Check
    says: str
    stores: Stores = SOUND
    history: Sequence[Record] = tuple(HISTORY)


BROKEN = {
    "a certified erasure is nowhere": Broken(
        erasures.erasures_are_done, "not erased", arrived([*CHANGES[:2], CHANGES[3]])
    ),
    "an erasure that nobody asked for": Broken(
        erasures.erasures_are_done, "stranger", arrived([*CHANGES, _erase(51, "e2")])
    ),
    "a refused erasure is done": Broken(
        erasures.erasures_are_done,
        "stranger",
        history=[*HISTORY[:5], Fail(at=6, op=3, attempt=1, reason="checkout-in-progress")],
    ),
    "what was there before is above the erasure": Broken(
        erasures.erased_is_what_was_there_before,
        "not erased",
        arrived([CHANGES[0], CHANGES[2], _add(34, "k2", 3), CHANGES[3]]),
    ),
    "a later write is below the erasure": Broken(
        erasures.erased_is_what_was_there_before, "lost", arrived([*CHANGES[:3], _add(30, "k3", 1)])
    ),
    "an operation of before is still there": Broken(
        erasures.nothing_of_before_is_left,
        "not erased",
        msgspec.structs.replace(SOUND, records={CART: SOUND.records[CART][:2]}),
    ),
    "a later write is gone": Broken(
        checks.acknowledged_operations_are_there,
        "lost",
        msgspec.structs.replace(SOUND, records={CART: SOUND.records[CART][:3]}),
    ),
    "pieces of before are shown": Broken(
        checks.quantities_add_up,
        "doubled",
        msgspec.structs.replace(SOUND, redis=arrived([*CHANGES[:2], CHANGES[3]]).redis),
    ),
    "pieces of later are not shown": Broken(
        checks.quantities_add_up,
        "lost",
        msgspec.structs.replace(SOUND, redis=arrived(CHANGES[:3]).redis),
    ),
    "an order still says for whom it was": Broken(
        erasures.orders_forget_whom_they_were_for,
        "not erased",
        _bought(EMAIL),
        [*CHECKED_OUT, *_erased(2, 3, "e1", 31, ORDERED)],
    ),
    "an order says nothing of whom it was for, and nobody erased it": Broken(
        erasures.orders_forget_whom_they_were_for, "lost", _bought(None), CHECKED_OUT
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_the_check_sees_that(broken: Broken) -> None:
    found = broken.check(broken.history, broken.stores)
    assert {violation.what for violation in found} == {broken.says}


def test_every_check_has_been_seen_to_fail() -> None:
    assert {broken.check for broken in BROKEN.values()} >= set(erasures.ERASURE_CHECKS)


def test_an_erased_cart_begins_anew() -> None:
    everything = (Add("a", 2, 1), Note("n"), Detail("a@b.example"), Save("b", 3))
    done: list[tuple[int, Deed]] = [
        (10, everything),
        (31, Forgotten()),
        (40, (Save("c", 1), Save("d", 2), Save("d", 0))),
    ]
    before, after = expected_contents(done[:1]), expected_contents(done)
    assert (before.lines, before.metadata) == ({"a": 2}, {"note": "n"})
    assert (before.email, before.saved) == ("a@b.example", {"b": 3})
    assert (after.lines, after.metadata, after.email, after.saved) == ({}, {}, None, {"c": 1})


def test_the_arithmetic_holds_what_the_fold_holds() -> None:
    note, details = MetadataStep({"note": "n"}), DetailsStep(email="a@b.example")
    changes = [_change(10, "k1", note, details, SaveStep("b", 3, Item("b")))]
    copy = arrived(changes).redis[CART]
    expected = expected_contents([(10, (Note("n"), Detail("a@b.example"), Save("b", 3)))])
    assert (copy.metadata, copy.email, copy.saved) == (expected.metadata, expected.email, expected.saved)
