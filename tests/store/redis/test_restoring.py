"""Restoration and following: only the one that Redis knows of goes on."""

from typing import Any

import msgspec
import pytest

from carts.fold import fold
from carts.operations import Add, Change, Expire, Item
from carts.state import State, Status
from store.redis import (
    PositionMoved,
    PutOutcome,
    PutResult,
    Reason,
    RestoreLost,
    Restoring,
    StatesNeeded,
    StoredCart,
)
from store.redis.errors import PartitionClosed
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_requests import CART, SOCKS, applied, refused
from tests.support.copies import put_copies


def state_at(*versions: int) -> State:
    """A cart with an operation at each version."""
    state = None
    for v in versions:
        change = Change(cart_id=CART, version=v, op_id=f"op-{v}", fingerprint="f", delta=(SOCKS,))
        state = fold(state, change).state
    assert state is not None
    return state


@pytest.fixture
def partition(fixture: StoreFixture) -> int:
    """The partition of the cart."""
    return fixture.layout.partition(CART)


async def test_a_wiped_partition_comes_back_through_its_restoration(
    fixture: StoreFixture, partition: int
) -> None:
    await fixture.everywhere("FLUSHALL")
    assert await fixture.store.ready_partitions() == set()
    await fixture.store.request_restore(partition)
    assert await fixture.store.restore_requests() == {partition}
    token = await fixture.store.restore_begin(partition)
    results = await fixture.store.restore_put(partition, token, 0, [(CART, state_at(1000))])
    assert not isinstance(results, RestoreLost)
    assert [result.outcome for result in results] == [PutOutcome.STORED]
    assert await fixture.store.restore_put(partition, token, 1, []) == []
    assert await fixture.store.restore_finish(partition, token, 2, 77) is None
    assert await fixture.store.ready_partitions() == {partition}
    assert await fixture.store.restore_requests() == set()
    assert await fixture.store.followed(partition) == 77
    assert isinstance(await fixture.store.read(CART), StoredCart)


async def test_lines_of_one_change_keep_their_order_in_a_redis_that_was_wiped(
    fixture: StoreFixture, partition: int
) -> None:
    names = ["tea", "cup", "pot", "a-spoon", *(f"sock-{number}" for number in range(95, 0, -1)), "mug"]
    steps = tuple(Add(name, 1, 100, "EUR", Item(name)) for name in names)
    done = await applied(fixture, *steps)
    state = fold(None, msgspec.json.decode(done.entry.event, type=Change)).state
    assert state is not None
    await fixture.everywhere("FLUSHALL")
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_put(partition, token, 0, [(CART, state)])
    await fixture.store.restore_finish(partition, token, 1, 77)
    restored = await fixture.store.read(CART)
    assert done.cart is not None
    assert isinstance(restored, StoredCart)
    for cart in (done.cart, restored):
        assert [line.line_id for line in cart.view().lines] == names
        assert [line["line_id"] for line in msgspec.json.decode(cart.json())["lines"]] == names


async def test_a_restoration_that_was_overtaken_puts_nothing(fixture: StoreFixture, partition: int) -> None:
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_begin(partition)
    before = await fixture.everything()
    assert isinstance(
        await fixture.store.restore_put(partition, token, 0, [(CART, state_at(1000))]), RestoreLost
    )
    assert isinstance(await fixture.store.restore_finish(partition, token, 0, 1), RestoreLost)
    assert await fixture.everything() == before


async def test_a_wipe_during_a_restoration_is_noticed(fixture: StoreFixture, partition: int) -> None:
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_put(partition, token, 0, [(CART, state_at(1000))])
    await fixture.everywhere("FLUSHALL")
    assert isinstance(await fixture.store.restore_put(partition, token, 1, []), RestoreLost)
    assert isinstance(await fixture.store.restore_finish(partition, token, 1, 1), RestoreLost)
    assert await fixture.store.ready_partitions() == set()


async def test_a_rollback_during_a_restoration_is_noticed_by_its_sequence(
    fixture: StoreFixture, partition: int
) -> None:
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_put(partition, token, 0, [])
    assert isinstance(await fixture.store.restore_put(partition, token, 0, []), RestoreLost)
    assert isinstance(await fixture.store.restore_put(partition, token, 2, []), RestoreLost)


async def test_finishing_again_after_an_unknown_outcome_does_no_harm(
    fixture: StoreFixture, partition: int
) -> None:
    token = await fixture.store.restore_begin(partition)
    assert await fixture.store.restore_finish(partition, token, 0, 5) is None
    assert await fixture.store.restore_finish(partition, token, 0, 5) is None


async def test_following_moves_the_position_with_what_it_puts(fixture: StoreFixture, partition: int) -> None:
    results = await fixture.store.follow_put(partition, 0, 10, [(CART, state_at(1000))])
    assert not isinstance(results, PositionMoved)
    assert await fixture.store.followed(partition) == 10
    before = await fixture.everything()
    assert await fixture.store.follow_put(partition, 9, 20, [(CART, state_at(2000))]) == PositionMoved(10)
    assert await fixture.store.follow_put(partition, None, 20, []) == PositionMoved(10)
    assert await fixture.everything() == before


async def test_the_version_is_enough_of_a_state_that_redis_has(fixture: StoreFixture, partition: int) -> None:
    await put_copies(fixture.store, partition, [(CART, state_at(1000))])
    results = await fixture.store.follow_put(partition, 0, 10, [(CART, state_at(1000).version)])
    assert not isinstance(results, PositionMoved | StatesNeeded)
    assert [result.outcome for result in results] == [PutOutcome.UNCHANGED]
    assert await fixture.store.followed(partition) == 10


async def test_the_version_is_enough_of_a_state_that_redis_has_gone_on_from(
    fixture: StoreFixture, partition: int
) -> None:
    older, state = state_at(1000), state_at(1000, 2000, 3000)
    await put_copies(fixture.store, partition, [(CART, state)])
    pending = fixture.layout.of_partition(partition).pending_compaction
    await fixture.client.execute("ZADD", pending, 1000, CART)
    results = await fixture.store.follow_put(partition, 0, 10, [(CART, older.version)])
    lacking = tuple((op.version, op.op_id) for op in state.ops[1:])
    assert results == [PutResult(CART, PutOutcome.UNCOVERED, lacking)]
    assert await fixture.client.execute("ZSCORE", pending, CART) == 2000
    assert await fixture.store.followed(partition) == 10


async def test_a_state_is_asked_for_where_redis_has_gone_on_from_another_one(
    fixture: StoreFixture, partition: int
) -> None:
    await put_copies(fixture.store, partition, [(CART, state_at(1000, 3000))])
    needed = StatesNeeded(frozenset({CART}))
    assert await fixture.store.follow_put(partition, 0, 10, [(CART, state_at(2000).version)]) == needed


async def test_a_state_is_asked_for_where_redis_has_another_version(
    fixture: StoreFixture, partition: int
) -> None:
    state, newer = state_at(1000), state_at(2000)
    needed = StatesNeeded(frozenset({CART}))
    assert await fixture.store.follow_put(partition, 0, 10, [(CART, state.version)]) == needed
    assert not isinstance(await fixture.store.read(CART), StoredCart)
    await fixture.store.follow_put(partition, 0, 10, [(CART, state)])
    before = await fixture.everything()
    assert await fixture.store.follow_put(partition, 10, 20, [(CART, newer.version)]) == needed
    assert await fixture.store.follow_put(partition, 9, 20, [(CART, newer.version)]) == PositionMoved(10)
    assert await fixture.everything() == before


async def test_an_expired_state_is_asked_for_although_redis_has_it(
    fixture: StoreFixture, partition: int
) -> None:
    state = state_at(1000)
    gone = Expire(state.version_number, state.operation_count, 501)
    expired = fold(state, Change(cart_id=CART, version=0, op_id="", delta=(gone,))).state
    assert expired is not None
    await put_copies(fixture.store, partition, [(CART, expired)])
    needed = StatesNeeded(frozenset({CART}))
    assert await fixture.store.follow_put(partition, 0, 10, [(CART, expired.version)]) == needed


async def test_a_wiped_partition_is_not_followed(fixture: StoreFixture, partition: int) -> None:
    await fixture.everywhere("FLUSHALL")
    assert await fixture.store.follow_put(partition, 0, 10, [(CART, state_at(1000))]) == PositionMoved(None)
    assert await fixture.keys() == []


async def test_an_expired_cart_is_put_as_such_but_not_over_a_write_it_does_not_know(
    fixture: StoreFixture, partition: int
) -> None:
    state = state_at(1000)
    expired = fold(
        state,
        Change(
            cart_id=CART,
            version=0,
            op_id="",
            delta=(Expire(state.version_number, state.operation_count, 501),),
        ),
    ).state
    assert expired is not None
    (result,) = await put_copies(fixture.store, partition, [(CART, expired)])
    assert result.outcome is PutOutcome.STORED
    await fixture.client.execute("DEL", fixture.layout.of_cart(CART).cart)
    await put_copies(fixture.store, partition, [(CART, state)])
    (result,) = await put_copies(fixture.store, partition, [(CART, expired)])
    assert result.outcome is PutOutcome.REPLACED
    copy = await fixture.store.read(CART)
    assert isinstance(copy, StoredCart)
    assert (copy.status, copy.view().lines) == (Status.EXPIRED, [])
    keys = fixture.layout.of_cart(CART)
    await fixture.client.execute("DEL", keys.cart, keys.ops, keys.win)
    await put_copies(fixture.store, partition, [(CART, state)])
    answer = await applied(fixture, op_id="meanwhile")
    (result,) = await put_copies(fixture.store, partition, [(CART, expired)])
    assert (result.outcome, result.uncovered) == (
        PutOutcome.UNCOVERED,
        ((answer.operation_version, "meanwhile"),),
    )


async def test_a_cart_of_another_partition_is_not_put(fixture: StoreFixture, partition: int) -> None:
    with pytest.raises(ValueError, match="belongs to partition"):
        await put_copies(fixture.store, (partition + 1) % 16, [(CART, state_at(1000))])


async def test_a_closed_partition_takes_no_change_and_no_restoration_until_it_is_opened(
    fixture: StoreFixture, partition: int
) -> None:
    begun = await fixture.store.restore_begin(partition)
    await fixture.store.close_partitions()
    assert await fixture.store.closed_partitions() == set(range(fixture.layout.partitions))
    assert (await refused(fixture, SOCKS)).reason is Reason.RESTORING
    assert isinstance(await fixture.store.restore_finish(partition, begun, 0, 77), RestoreLost)
    with pytest.raises(PartitionClosed):
        await fixture.store.restore_begin(partition)
    await fixture.store.open_partitions()
    await fixture.make_ready(partition)
    assert await fixture.store.closed_partitions() == set()
    await applied(fixture, SOCKS)


@pytest.mark.parametrize(("after", "is_read"), [(b"of-the-fixture 7 ", True), (b"another 0 ", False)])
async def test_a_cart_is_read_while_the_marker_asks_for_later_rows_but_not_across_a_restoration(
    fixture: StoreFixture, partition: int, monkeypatch: pytest.MonkeyPatch, after: bytes, *, is_read: bool
) -> None:
    await applied(fixture)
    node = fixture.client.node_of(fixture.layout.slot(partition))
    submit = node.submit

    async def moves_on(packed: bytes, companions: list[Any] | None = None, count: int = 0) -> Any:
        marker = await submit(packed, companions, count)
        return marker.replace(b"of-the-fixture 0 ", after)

    monkeypatch.setattr(node, "submit", moves_on)
    assert isinstance(await fixture.store.read(CART), StoredCart if is_read else Restoring)
