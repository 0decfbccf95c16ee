"""The subtraction of an order on real servers: Redis then holds what the model's mirror of it holds."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from carts import ordering
from carts.fold import fold
from carts.limits import Limits, Timing
from carts.operations import Add, Attempt, Change, Delta, Item, Set, Subtract
from carts.state import State, union
from store.redis import Applied, ChangeRequest, Reason, Refused, Replayed
from tests.model import redis_mirror
from tests.model.tail import Marker, Miss
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.copies import assert_redis_holds
from tests.store.redis.test_put_equals_protocol import CART, WINDOW_US, grown, histories, property_test, put

TIMING = Timing(window_us=WINDOW_US)
ORDER = "order-of-the-test"


def now_us() -> int:
    return time.time_ns() // 1000


def cart(*quantities: int) -> State:
    """A folded cart of one line, each quantity added a second after the other."""
    state: State | None = None
    for number, quantity in enumerate(quantities):
        step = Add("sock", quantity, 100, "EUR", Item("sock"))
        v = 2 * (now_us() - 1_000_000 * (len(quantities) - number))
        state = fold(state, Change(cart_id=CART, version=v, op_id=f"op-{number}", delta=(step,))).state
    assert state is not None
    return state


def order_of(snapshot: State, order_id: str = ORDER) -> Delta:
    """What takes everything out that the snapshot shows."""
    return ordering.subtraction(order_id, ordering.lines_to_order(snapshot), snapshot)


def request(op_id: str, step: Any) -> ChangeRequest:
    """A client's write."""
    return ChangeRequest(
        cart_id=CART, op_id=op_id, fingerprint="f", steps=(step,), first_seen_us=now_us(), absence=ABSENCE
    )


@property_test
@given(
    common=histories,
    behind=histories,
    ahead=histories,
    held=st.sampled_from(["nothing", "folded", "ahead", "fork"]),
)
def test_redis_then_holds_what_the_model_says(
    on_empty_server: Callable[[Any], None], common: list[Any], behind: list[Any], ahead: list[Any], held: str
) -> None:
    now = now_us()
    root = grown(None, common, now)
    folded, other = grown(root, behind, now), grown(root, ahead, now)
    assume(root is not None and folded is not None and other is not None)
    assert root is not None
    assert folded is not None
    assert other is not None
    # An order is made from a snapshot that knows the one before: none is made since that one's.
    assume(root.version_number > max(folded.newest_order, other.newest_order))
    copy = {"nothing": None, "folded": folded, "ahead": union(folded, other), "fork": other}[held]

    async def play(fixture: StoreFixture) -> None:
        store = fixture.store_with(timing=TIMING)
        if copy is not None:
            await put(fixture, copy)
        before = await fixture.everything()
        answer = await store.subtract(CART, ORDER, order_of(root), folded)
        if folded.expired or not ordering.may_unite(folded, copy):
            assert answer == Refused(reason=Reason.NO_RECORD)
            assert await fixture.everything() == before
            return
        assert isinstance(answer, Applied)
        now_us = answer.operation_version // 2
        mirror = redis_mirror.Redis(
            cart=redis_mirror.stored(copy) if copy is not None else None,
            marker=Marker("restored"),
        )
        absent = redis_mirror.Found(Miss("restored", now_us), None, 0)
        asked = redis_mirror.Request(ORDER, order_of(root), 0, absent)
        _, expected = redis_mirror.subtract(mirror, folded, asked, CART, now_us, TIMING, 2**60)
        assert isinstance(expected, redis_mirror.Applied)
        change = msgspec.json.decode(answer.entry.event, type=Change)
        assert change == expected.entry.change
        assert answer.entry.event == msgspec.json.encode(change)
        base = ordering.subtraction_base(folded, copy)
        state = ordering.subtracted(base, change.operation(), TIMING)
        assert answer.version == state.version
        await assert_redis_holds(fixture, CART, state)
        (entry,) = await store.outbox_read(answer.partition)
        assert (entry.id, entry.op_id, entry.event) == (answer.entry.id, ORDER, answer.entry.event)
        (depth,) = (each for each in await store.outbox_depths() if each.entries)
        assert depth.bytes == len(ORDER) + len(CART) + len(answer.entry.event)

    on_empty_server(play)


async def test_what_is_added_meanwhile_stays(fixture: StoreFixture) -> None:
    snapshot = cart(1, 2)
    await put(fixture, snapshot)
    await fixture.store.change(request("later", Add("sock", 4, 100, "EUR", Item("sock"))))
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert {line.line_id: line.quantity for line in answer.cart.view().lines} == {"sock": 4}


async def test_a_line_that_was_decided_meanwhile_is_left_alone(fixture: StoreFixture) -> None:
    snapshot = cart(3)
    await put(fixture, snapshot)
    await fixture.store.change(request("later", Set("sock", 2, 100, "EUR", Item("sock"))))
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert {line.line_id: line.quantity for line in answer.cart.view().lines} == {"sock": 2}


async def test_the_event_folds_to_what_redis_shows(fixture: StoreFixture) -> None:
    snapshot = cart(1, 2)
    await put(fixture, snapshot)
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(answer, Applied)
    folded = fold(snapshot, msgspec.json.decode(answer.entry.event, type=Change)).state
    assert folded is not None
    await assert_redis_holds(fixture, CART, folded)


async def test_a_late_order_names_the_attempts_that_count_now(fixture: StoreFixture) -> None:
    def added(op_id: str, minutes_ago: int, quantity: int) -> Change:
        step = Add("sock", quantity, 100, "EUR", Item("sock"))
        v = 2 * (now_us() - minutes_ago * 60_000_000)
        return Change(cart_id=CART, version=v, op_id=op_id, delta=(step,))

    snapshot = fold(None, added("bought", 30, 3)).state
    assert snapshot is not None
    folded = fold(fold(snapshot, again := added("bought", 22, 3)).state, added("later", 5, 1)).state
    assert folded is not None
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), folded)
    assert isinstance(answer, Applied)
    change = msgspec.json.decode(answer.entry.event, type=Change)
    (step,) = change.delta
    assert isinstance(step, Subtract)
    assert step.attempts == (Attempt("bought", again.version),)
    after = fold(folded, change).state
    assert after is not None
    assert {line.quantity for line in after.content().lines.values()} == {1}
    await assert_redis_holds(fixture, CART, after)


async def test_an_order_waits_for_a_row_that_lacks_what_has_left_the_window(fixture: StoreFixture) -> None:
    def added(op_id: str, minutes_ago: int, quantity: int) -> Change:
        step = Add("sock", quantity, 100, "EUR", Item("sock"))
        v = 2 * (now_us() - minutes_ago * 60_000_000)
        return Change(cart_id=CART, version=v, op_id=op_id, delta=(step,))

    snapshot = fold(None, added("bought", 60, 3)).state
    newest = fold(fold(snapshot, added("later", 50, 4)).state, added("latest", 5, 1)).state
    assert snapshot is not None
    assert newest is not None
    assert [op.op_id for op in newest.ops] == ["latest"]
    await put(fixture, newest)
    waits = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert waits == Refused(reason=Reason.NO_RECORD)
    await assert_redis_holds(fixture, CART, newest)
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), newest)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert [line.quantity for line in answer.cart.view().lines] == [5]


async def test_a_second_subtraction_is_a_replay_with_its_outbox_entry(fixture: StoreFixture) -> None:
    snapshot = cart(2)
    await put(fixture, snapshot)
    first = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(first, Applied)
    before = await fixture.everything()
    again = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(again, Replayed)
    assert again.entry is not None
    assert (again.entry.id, again.entry.event) == (first.entry.id, first.entry.event)
    assert (again.operation_version, again.version) == (first.operation_version, first.version)
    assert await fixture.everything() == before
    await fixture.store.outbox_remove(first.partition, [(first.entry.id, ORDER)])
    in_kafka = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(in_kafka, Replayed)
    assert in_kafka.entry is None


async def test_an_order_that_the_folded_cart_knows_is_a_replay_though_redis_fell_back(
    fixture: StoreFixture,
) -> None:
    snapshot = cart(2)
    await put(fixture, snapshot)
    first = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(first, Applied)
    folded = fold(snapshot, msgspec.json.decode(first.entry.event, type=Change)).state
    await fixture.empty()
    await put(fixture, snapshot)
    again = await fixture.store.subtract(CART, ORDER, order_of(snapshot), folded)
    assert isinstance(again, Replayed)
    assert (again.operation_version, again.entry) == (first.operation_version, None)
    await assert_redis_holds(fixture, CART, snapshot)


async def test_a_change_that_waits_in_the_outbox_is_still_found_there_by_its_retry(
    fixture: StoreFixture,
) -> None:
    snapshot = cart(1)
    await put(fixture, snapshot)
    later = request("later", Add("sock", 1, 100, "EUR", Item("sock")))
    applied = await fixture.store.change(later)
    assert isinstance(applied, Applied)
    assert isinstance(await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot), Applied)
    replayed = await fixture.store.change(later)
    assert isinstance(replayed, Replayed)
    assert replayed.entry is not None
    assert replayed.entry.event == applied.entry.event


async def test_an_order_brings_an_absent_cart_back_without_what_it_bought(fixture: StoreFixture) -> None:
    snapshot = cart(5)
    later = Change(
        cart_id=CART,
        version=snapshot.version_number + 2,
        op_id="later",
        delta=(Add("sock", 1, 100, "EUR", Item("sock")),),
    )
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), fold(snapshot, later).state)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert [line.quantity for line in answer.cart.view().lines] == [1]


async def test_without_a_folded_cart_the_order_waits(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    await put(fixture, snapshot)
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), None)
    assert answer == Refused(reason=Reason.NO_RECORD)


async def test_while_the_partition_restores_the_order_waits(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    await fixture.everywhere("FLUSHALL")
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert answer == Refused(reason=Reason.RESTORING)


async def test_a_full_outbox_refuses_and_changes_nothing(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    await put(fixture, snapshot)
    before = await fixture.everything()
    store = fixture.store_with(outbox_max_bytes=10)
    answer = await store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert answer == Refused(reason=Reason.OUTBOX_FULL)
    assert await fixture.everything() == before


async def test_a_full_window_says_when_there_is_room(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    store = fixture.store_with(Limits(window_bytes=10, ordered_bytes=0, subtraction_bytes=10))
    answer = await store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.WINDOW_FULL
    assert answer.retry_after_us


async def test_a_cart_that_moves_between_reading_and_swapping_is_read_again(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    await put(fixture, snapshot)
    store = fixture.store_with()
    run, moves = fixture.client.run, iter(range(3))

    async def run_after_a_write(script: Any, keys: Any, arguments: Any) -> Any:
        if script.name == "subtract" and (number := next(moves, None)) is not None:
            await fixture.store.change(request(f"move-{number}", Add("sock", 1, 100, "EUR", Item("sock"))))
        return await run(script, keys, arguments)

    fixture.client.run = run_after_a_write  # type: ignore[method-assign]
    answer = await store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert [line.quantity for line in answer.cart.view().lines] == [3]


async def test_a_cart_that_never_rests_is_left_for_later(fixture: StoreFixture) -> None:
    snapshot = cart(1)
    await put(fixture, snapshot)
    run, number = fixture.client.run, 0

    async def run_after_a_write(script: Any, keys: Any, arguments: Any) -> Any:
        nonlocal number
        if script.name == "subtract":
            number += 1
            await fixture.store.change(request(f"move-{number}", Add("sock", 1, 100, "EUR", Item("sock"))))
        return await run(script, keys, arguments)

    fixture.client.run = run_after_a_write  # type: ignore[method-assign]
    answer = await fixture.store.subtract(CART, ORDER, order_of(snapshot), snapshot)
    assert answer == Refused(reason=Reason.MOVED)
    read = await fixture.store.read(CART)
    assert read.view().lines[0].quantity == 1 + number  # type: ignore[union-attr]


async def test_of_many_checkout_locks_one_is_held(fixture: StoreFixture) -> None:
    locks = [await fixture.store.lock_checkout(CART, f"token-{number}", 60_000) for number in range(20)]
    assert {lock.token for lock in locks} == {"token-0"}
    assert all(0 < lock.ttl_ms <= 60_000 for lock in locks)
    held = await fixture.store.checkout_lock(CART)
    assert held is not None
    assert held.token == "token-0"


async def test_only_its_holder_releases_a_checkout_lock(fixture: StoreFixture) -> None:
    await fixture.store.lock_checkout(CART, "mine", 60_000)
    assert not await fixture.store.unlock_checkout(CART, "another's")
    assert await fixture.store.unlock_checkout(CART, "mine")
    assert await fixture.store.checkout_lock(CART) is None
    assert not await fixture.store.unlock_checkout(CART, "mine")


async def test_a_checkout_lock_does_not_stop_writes(fixture: StoreFixture) -> None:
    await fixture.store.lock_checkout(CART, "mine", 60_000)
    answer = await fixture.store.change(request("write", Add("sock", 1, 100, "EUR", Item("sock"))))
    assert isinstance(answer, Applied)
