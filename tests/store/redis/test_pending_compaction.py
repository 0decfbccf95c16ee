"""The account of carts with changes that no state put into Redis has covered."""

import msgspec

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from store.redis import Applied, PendingCompaction
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_requests import applied
from tests.support.copies import put_copies

CART = "user:1"
ALL = 2**53


async def pending(fixture: StoreFixture) -> dict[str, int]:
    """The account of the cart's partition."""
    account = PendingCompaction(fixture.client, fixture.layout)
    return await account.before(fixture.layout.partition(CART), ALL, 100)


def folded(*changes: Applied) -> State:
    """The state after these changes."""
    state: State | None = None
    for change in changes:
        state = fold(state, msgspec.json.decode(change.entry.event, type=Change)).state
    assert state is not None
    return state


async def put(fixture: StoreFixture, state: State) -> None:
    """What following `carts` does."""
    await put_copies(fixture.store, fixture.layout.partition(CART), [(CART, state)])


async def test_the_version_of_a_state_settles_the_account_too(fixture: StoreFixture) -> None:
    state = folded(await applied(fixture))
    await fixture.store.follow_put(fixture.layout.partition(CART), 0, 1, [(CART, state.version)])
    assert await pending(fixture) == {}


async def test_a_change_is_on_the_account_until_a_state_covers_it(fixture: StoreFixture) -> None:
    first = await applied(fixture)
    assert await pending(fixture) == {CART: first.operation_version}
    await put(fixture, folded(first))
    assert await pending(fixture) == {}


async def test_the_account_names_the_oldest_change_that_is_not_covered(fixture: StoreFixture) -> None:
    first, second, third = [await applied(fixture) for _ in range(3)]
    assert await pending(fixture) == {CART: first.operation_version}
    await put(fixture, folded(first, third))
    assert await pending(fixture) == {CART: second.operation_version}
    await put(fixture, folded(first, second, third))
    assert await pending(fixture) == {}


async def test_a_state_that_redis_had_already_clears_the_account_too(fixture: StoreFixture) -> None:
    first = await applied(fixture)
    await put(fixture, folded(first))
    second = await applied(fixture)
    await put(fixture, folded(first, second))
    await put(fixture, folded(first, second))
    assert await pending(fixture) == {}


async def test_what_is_passed_over_gives_way_to_the_next_change_of_the_window(fixture: StoreFixture) -> None:
    account = PendingCompaction(fixture.client, fixture.layout)
    first, second = await applied(fixture), await applied(fixture)
    await account.skip(CART, first.operation_version)
    assert await pending(fixture) == {CART: second.operation_version}
    await account.skip(CART, second.operation_version)
    assert await pending(fixture) == {}
    third = await applied(fixture)
    assert await pending(fixture) == {CART: third.operation_version}


async def test_windows_and_outbox_tell_what_waits_to_be_published(fixture: StoreFixture) -> None:
    account = PendingCompaction(fixture.client, fixture.layout)
    first = await applied(fixture, Add("sock", 1, 100, "EUR", Item("sock")), op_id="a")
    second = await applied(fixture, op_id="b")
    windows = await account.windows([CART, "user:nobody"])
    assert [(op.version, op.op_id) for op in windows[CART]] == [
        (first.operation_version, "a"),
        (second.operation_version, "b"),
    ]
    assert windows["user:nobody"] == []
    assert await account.in_outbox(first.partition) == {
        (first.operation_version, "a"),
        (second.operation_version, "b"),
    }
    await fixture.store.outbox_remove(first.partition, [(first.entry.id, "a")])
    assert await account.in_outbox(first.partition) == {(second.operation_version, "b")}
    backlog = await account.backlog_us([first.partition])
    assert backlog[first.partition] >= 0
