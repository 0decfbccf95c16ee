"""A Redis without memory: no script is half done, what makes room goes on, what takes more is refused."""

from itertools import count

import msgspec
import pytest

from carts.fold import fold
from carts.operations import Add, Change, Clear, Expire, Item, Remove, Set, SetMetadata
from carts.products import Product
from carts.state import State
from store.redis import (
    Applied,
    Memory,
    Missing,
    PutOutcome,
    Reason,
    Refused,
    Replayed,
    RequestStep,
    SetQuantity,
    StoredCart,
    StoreFull,
)
from store.redis.catalogue import NoRoom, ProductCache, ProductDeletion, ProductsPut
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.copies import assert_redis_holds
from tests.store.redis.test_catalogue_cache import product
from tests.store.redis.test_requests import CART, SOCKS, applied, refused, request
from tests.store.redis.test_restoring import state_at
from tests.store.redis.test_subtraction import order_of
from tests.support.memory import BEYOND, RESERVE, bounded, filled
from topics.names import IN_REDIS

HAT = Add("hat", 3, 900, "EUR", Item("hat"))
OTHER = "user:other"


def beside(fixture: StoreFixture) -> str:
    """Another cart in the cart's partition."""
    names, partition = (f"user:new-{number}" for number in count()), fixture.layout.partition
    return next(name for name in names if partition(name) == partition(CART))


@pytest.mark.parametrize(
    ("memory", "has_room"),
    [
        (Memory(94, 100), True),
        (Memory(95, 100), False),
        (Memory(120, 100), False),
        (Memory(120, 0), True),
    ],
)
def test_the_reserve_is_a_share_of_the_bound_and_without_a_bound_there_is_room(
    memory: Memory, *, has_room: bool
) -> None:
    assert memory.has_room(0.05) == has_room


def test_twice_the_reserve_beyond_the_bound_is_near() -> None:
    found = [Memory(used, 100).is_near(0.05) for used in (99, 109, 111)]
    assert found == [True, True, False]
    assert Memory(120, 0).is_near(0.05)


async def test_memory_is_what_counts_for_the_server(fixture: StoreFixture, server_url: str) -> None:
    with filled(server_url, RESERVE):
        memory = await fixture.store.memory()
        assert 0.95 < memory.used / memory.bound < 1
    assert (await fixture.store.memory()).bound == 0


@pytest.mark.parametrize(
    "step",
    [
        Remove("sock"),
        SetQuantity("hat", 1),
        SetQuantity("hat", 3),
        Clear(),
        SetMetadata({}),
        SetMetadata({"a": 2}),
    ],
)
async def test_what_takes_no_more_memory_is_applied_like_ever(
    fixture: StoreFixture, server_url: str, step: RequestStep
) -> None:
    before = await applied(fixture, SOCKS, HAT, SetMetadata({"a": 1}))
    with filled(server_url, BEYOND):
        after = await applied(fixture, step, absent_ok=False)
        assert not fixture.store.has_room
        state: State | None = None
        for change in (before, after):
            state = fold(state, msgspec.json.decode(change.entry.event, type=Change)).state
        assert state is not None
        await assert_redis_holds(fixture, CART, state)


@pytest.mark.parametrize(
    "step",
    [
        SOCKS,
        Add("new", 1, 500, "EUR", Item("new")),
        Set("hat", 4, 900, "EUR", Item("hat")),
        SetQuantity("hat", 4),
        SetQuantity("hat", 1, metadata={"note": "x" * 100}),
        SetMetadata({"note": "x" * 100}),
        Remove("never-there"),
    ],
)
async def test_what_takes_more_is_refused(fixture: StoreFixture, server_url: str, step: RequestStep) -> None:
    await applied(fixture, SOCKS, HAT)
    with filled(server_url, BEYOND):
        assert (await refused(fixture, step, absent_ok=False)).reason is Reason.STORAGE_FULL
        # Not even beside something that makes room.
        assert (await refused(fixture, Remove("sock"), step)).reason is Reason.STORAGE_FULL


async def test_in_the_reserve_nothing_grows_although_the_server_would_take_it(
    fixture: StoreFixture, server_url: str
) -> None:
    await applied(fixture)
    with filled(server_url, RESERVE):
        assert isinstance(await fixture.store.change(request(HAT)), Applied)
        fixture.store.has_room = False
        assert (await refused(fixture)).reason is Reason.STORAGE_FULL
        assert isinstance(await fixture.store.change(request(SetQuantity("hat", 1))), Applied)
        fixture.store.has_room = True
        assert isinstance(await fixture.store.change(request(HAT)), Applied)


async def test_a_retry_of_what_was_applied_is_recognised(fixture: StoreFixture, server_url: str) -> None:
    first = await applied(fixture, op_id="once")
    with filled(server_url, BEYOND):
        again = await fixture.store.change(request(op_id="once"))
        assert isinstance(again, Replayed)
        assert (again.operation_version, again.entry) == (first.operation_version, first.entry)


async def test_no_cart_begins_and_an_add_need_not_be_looked_up_to_be_refused(
    fixture: StoreFixture, server_url: str
) -> None:
    with filled(server_url, BEYOND):
        assert (await refused(fixture, absent_ok=False)).reason is Reason.STORAGE_FULL
        assert (await refused(fixture)).reason is Reason.STORAGE_FULL
        removal = Remove("sock")
        # This cart may have the line, in its row.
        assert (await refused(fixture, removal, absent_ok=False)).reason is Reason.UNKNOWN_CART
        assert (await refused(fixture, removal)).reason is Reason.STORAGE_FULL


async def test_a_change_that_has_begun_is_made_whole_however_much_it_takes(
    fixture: StoreFixture, server_url: str
) -> None:
    # The request itself fits, its cart, its window's entry and its outbox's entry do not.
    with bounded(server_url, 250_000):
        large = await applied(
            fixture, *(Add(f"l-{n}", 1, 1, "EUR", Item("l"), {"x": "y" * 900}) for n in range(90))
        )
        state = fold(None, msgspec.json.decode(large.entry.event, type=Change)).state
        assert state is not None
        await assert_redis_holds(fixture, CART, state)
        assert [entry.id for entry in await fixture.store.outbox_read(large.partition)] == [large.entry.id]
        memory = await fixture.store.memory()
        assert memory.used > memory.bound
        assert (await refused(fixture)).reason is Reason.STORAGE_FULL


async def test_what_the_database_has_can_be_brought_in_as_long_as_the_reserve_lasts(
    fixture: StoreFixture, server_url: str
) -> None:
    with filled(server_url, RESERVE):
        assert await fixture.store.hydrate(CART, state_at(1000), ABSENCE)
    with filled(server_url, BEYOND):
        before = await fixture.everything()
        with pytest.raises(StoreFull):
            await fixture.store.hydrate(OTHER, state_at(1000), ABSENCE)
        assert await fixture.everything() == before
        fixture.store.is_near_bound = False
        with pytest.raises(StoreFull):
            await fixture.store.hydrate(OTHER, state_at(1000), ABSENCE, takes_away=True)
        assert await fixture.everything() == before
        fixture.store.is_near_bound = True
        assert await fixture.store.hydrate(OTHER, state_at(1000), ABSENCE, takes_away=True)


@pytest.mark.parametrize(
    ("steps", "takes_away"),
    [
        ((Remove("sock"), Clear()), True),
        ((SetQuantity("sock", 1),), True),
        ((SetQuantity("sock", 1, metadata={}),), False),
        ((Remove("sock"), SOCKS), False),
        ((SetMetadata({}),), False),
    ],
)
def test_what_takes_away_is_told_from_what_may_grow(
    steps: tuple[RequestStep, ...], *, takes_away: bool
) -> None:
    assert request(*steps).takes_away == takes_away


async def test_an_order_leaves_its_cart(fixture: StoreFixture, server_url: str) -> None:
    cart = await applied(fixture)
    state = fold(None, msgspec.json.decode(cart.entry.event, type=Change)).state
    assert state is not None
    fixture.rows.states[OTHER] = state_at(1000)
    with filled(server_url, BEYOND):
        sold = await fixture.store.subtract(CART, "order", order_of(state), state)
        assert isinstance(sold, Applied)
        assert sold.cart is not None
        assert sold.cart.view().lines == []
        cold = await fixture.store.subtract(OTHER, "order", order_of(state_at(1000)), state_at(1000))
        assert cold == Refused(reason=Reason.STORAGE_FULL)


async def test_states_replace_the_copies_that_are_there_and_the_follower_waits_with_new_ones(
    fixture: StoreFixture, server_url: str
) -> None:
    store, partition = fixture.store, fixture.layout.partition(CART)
    new = beside(fixture)
    assert await store.follow_put(partition, 0, 1, [(CART, state_at(1000))])
    newer = fold(state_at(1000), Change(cart_id=CART, version=2000, op_id="newer", delta=(HAT,))).state
    assert newer is not None
    with filled(server_url, BEYOND):
        before = await fixture.everything()
        with pytest.raises(StoreFull):
            await store.follow_put(partition, 1, 3, [(CART, newer), (new, state_at(1000))])
        assert await fixture.everything() == before
        (result,) = await store.follow_put(partition, 1, 2, [(CART, newer)])  # type: ignore[misc]
        assert result.outcome is PutOutcome.REPLACED
        expiry = Expire(seen=2000, seen_operation_count=2, at=1_000_000)
        expired = fold(newer, Change(cart_id=CART, version=2002, op_id="!age", delta=(expiry,))).state
        assert expired is not None
        assert await store.follow_put(partition, 2, 3, [(CART, expired), (new, expired)])
        assert await store.followed(partition) == 3
    assert await store.follow_put(partition, 3, 4, [(new, state_at(1000))])


async def test_a_partition_is_restored_as_far_as_its_carts_are_there(
    fixture: StoreFixture, server_url: str
) -> None:
    store, partition = fixture.store, fixture.layout.partition(CART)
    await applied(fixture)
    with filled(server_url, BEYOND):
        await store.forget_marker(partition)
        assert partition not in await store.ready_partitions()
        await store.request_restore(partition)
        assert partition in await store.restore_requests()
        token = await store.restore_begin(partition)
        assert await store.restore_from(partition, token, 0, 5) == 0
        with pytest.raises(StoreFull):
            await store.restore_put(partition, token, 1, [(beside(fixture), state_at(1000))])
        assert await store.restore_put(partition, token, 1, [(CART, state_at(1000))])
        assert await store.restore_finish(partition, token, 2, 5, rows_position=1) is None
        marker = (await store.markers())[partition]
        assert await store.warmed(partition, marker.restoration, 5, 3, [])


async def test_products_change_their_prices_and_new_ones_wait(fixture: StoreFixture, server_url: str) -> None:
    cache = ProductCache(fixture.client)
    generation = (await cache.follow(1)).generation

    async def put(position: int, *changes: Product | ProductDeletion) -> object:
        return await cache.put(
            0,
            generation,
            position - 1 or None,
            position,
            changes,
            partitions=1,
            at_end=True,
        )

    assert await put(1, product("cup"), product("pot")) == ProductsPut(2, 0)
    with filled(server_url, BEYOND):
        cheaper = product("cup", 2, unit_price=90)
        before = await fixture.keys()
        assert await put(2, cheaper, product("lid", 3)) == NoRoom()
        since_us = await cache.standing_since_us(1)
        assert since_us is not None
        assert await put(2, product("cup", 3, description="long " * 100)) == NoRoom()
        assert await cache.standing_since_us(1) == since_us
        assert (await cache.positions(1))[0] == 1
        assert set(await fixture.keys()) == set(before)
        assert await cache.read("cup") == product("cup")
        assert await put(2, cheaper) == ProductsPut(1, 0)
        assert await cache.standing_since_us(1) is None
        assert await cache.read("cup") == cheaper
        assert await put(3, ProductDeletion("pot", 4)) == ProductsPut(1, 0)
        assert await put(4, product("lid", 3)) == NoRoom()
        await fixture.client.execute("DEL", f"{IN_REDIS}{{catalogue}}:ids")
        assert (await cache.follow(1)).generation != generation
    generation = (await cache.follow(1)).generation
    assert await put(1, product("lid", 3)) == ProductsPut(1, 0)


async def test_reading_goes_on(fixture: StoreFixture, server_url: str) -> None:
    await applied(fixture)
    with filled(server_url, BEYOND):
        assert isinstance(await fixture.store.read(CART), StoredCart)
        assert isinstance(await fixture.store.read(OTHER), Missing)
        assert isinstance(await fixture.store.window(CART), list)
