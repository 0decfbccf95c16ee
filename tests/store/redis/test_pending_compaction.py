"""The account of carts with changes that no state put into Redis has covered."""

import msgspec

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from store.redis import Applied, PendingCompaction
from tests.store.conftest import Bench
from tests.store.test_requests import applied

CART = "user:1"
ALL = 2**53


async def pending(bench: Bench) -> dict[str, int]:
    """The account of the cart's partition."""
    account = PendingCompaction(bench.client, bench.layout)
    return await account.before(bench.layout.partition(CART), ALL, 100)


def folded(*changes: Applied) -> State:
    """The state after these changes."""
    state: State | None = None
    for change in changes:
        state = fold(state, msgspec.json.decode(change.entry.event, type=Change)).state
    assert state is not None
    return state


async def put(bench: Bench, state: State) -> None:
    """What following `carts` does."""
    await bench.store.put(bench.layout.partition(CART), [(CART, state)])


async def test_a_change_is_on_the_account_until_a_state_covers_it(bench: Bench) -> None:
    first = await applied(bench)
    assert await pending(bench) == {CART: first.operation_version}
    await put(bench, folded(first))
    assert await pending(bench) == {}


async def test_the_account_names_the_oldest_change_that_is_not_covered(bench: Bench) -> None:
    first, second, third = [await applied(bench) for _ in range(3)]
    assert await pending(bench) == {CART: first.operation_version}
    await put(bench, folded(first, third))
    assert await pending(bench) == {CART: second.operation_version}
    await put(bench, folded(first, second, third))
    assert await pending(bench) == {}


async def test_a_state_that_redis_had_already_clears_the_account_too(bench: Bench) -> None:
    first = await applied(bench)
    await put(bench, folded(first))
    second = await applied(bench)
    await put(bench, folded(first, second))
    await put(bench, folded(first, second))
    assert await pending(bench) == {}


async def test_what_is_passed_over_gives_way_to_the_next_change_of_the_window(bench: Bench) -> None:
    account = PendingCompaction(bench.client, bench.layout)
    first, second = await applied(bench), await applied(bench)
    await account.skip(CART, first.operation_version)
    assert await pending(bench) == {CART: second.operation_version}
    await account.skip(CART, second.operation_version)
    assert await pending(bench) == {}
    third = await applied(bench)
    assert await pending(bench) == {CART: third.operation_version}


async def test_windows_and_outbox_tell_what_waits_to_be_published(bench: Bench) -> None:
    account = PendingCompaction(bench.client, bench.layout)
    first = await applied(bench, Add("sock", 1, 100, "EUR", Item("sock")), op_id="a")
    second = await applied(bench, op_id="b")
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
    await bench.store.outbox_remove(first.partition, [(first.entry.id, "a")])
    assert await account.in_outbox(first.partition) == {(second.operation_version, "b")}
    backlog = await account.backlog_us([first.partition])
    assert backlog[first.partition] >= 0
