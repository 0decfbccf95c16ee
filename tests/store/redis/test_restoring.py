"""Restoration and following: only the one that Redis knows of goes on."""

import pytest

from carts.fold import fold
from carts.operations import Change, Expire
from carts.state import State
from store.redis import Missing, PositionMoved, PutOutcome, RestoreLost, StoredCart
from tests.store.conftest import Bench
from tests.store.test_requests import CART, SOCKS, applied


def state_at(v: int) -> State:
    """A cart with one operation."""
    change = Change(cart_id=CART, version=v, op_id=f"op-{v}", fingerprint="f", delta=(SOCKS,))
    state = fold(None, change).state
    assert state is not None
    return state


@pytest.fixture
def partition(bench: Bench) -> int:
    """The partition of the cart."""
    return bench.layout.partition(CART)


async def test_a_wiped_partition_comes_back_through_its_restoration(bench: Bench, partition: int) -> None:
    await bench.client.execute("FLUSHALL")
    assert await bench.store.ready_partitions() == set()
    await bench.store.request_restore(partition)
    assert await bench.store.restore_requests() == {partition}
    token = await bench.store.restore_begin(partition)
    results = await bench.store.restore_put(partition, token, 0, [(CART, state_at(1000))])
    assert not isinstance(results, RestoreLost)
    assert [result.outcome for result in results] == [PutOutcome.STORED]
    assert await bench.store.restore_put(partition, token, 1, []) == []
    assert await bench.store.restore_finish(partition, token, 2, 77) is None
    assert await bench.store.ready_partitions() == {partition}
    assert await bench.store.restore_requests() == set()
    assert await bench.store.followed(partition) == 77
    assert isinstance(await bench.store.read(CART), StoredCart)


async def test_a_restoration_that_was_overtaken_puts_nothing(bench: Bench, partition: int) -> None:
    token = await bench.store.restore_begin(partition)
    await bench.store.restore_begin(partition)
    before = await bench.everything()
    assert isinstance(
        await bench.store.restore_put(partition, token, 0, [(CART, state_at(1000))]), RestoreLost
    )
    assert isinstance(await bench.store.restore_finish(partition, token, 0, 1), RestoreLost)
    assert await bench.everything() == before


async def test_a_wipe_during_a_restoration_is_noticed(bench: Bench, partition: int) -> None:
    token = await bench.store.restore_begin(partition)
    await bench.store.restore_put(partition, token, 0, [(CART, state_at(1000))])
    await bench.client.execute("FLUSHALL")
    assert isinstance(await bench.store.restore_put(partition, token, 1, []), RestoreLost)
    assert isinstance(await bench.store.restore_finish(partition, token, 1, 1), RestoreLost)
    assert await bench.store.ready_partitions() == set()


async def test_a_rollback_during_a_restoration_is_noticed_by_its_sequence(
    bench: Bench, partition: int
) -> None:
    token = await bench.store.restore_begin(partition)
    await bench.store.restore_put(partition, token, 0, [])
    assert isinstance(await bench.store.restore_put(partition, token, 0, []), RestoreLost)
    assert isinstance(await bench.store.restore_put(partition, token, 2, []), RestoreLost)


async def test_finishing_again_after_an_unknown_outcome_does_no_harm(bench: Bench, partition: int) -> None:
    token = await bench.store.restore_begin(partition)
    assert await bench.store.restore_finish(partition, token, 0, 5) is None
    assert await bench.store.restore_finish(partition, token, 0, 5) is None


async def test_following_moves_the_position_with_what_it_puts(bench: Bench, partition: int) -> None:
    results = await bench.store.follow_put(partition, 0, 10, [(CART, state_at(1000))])
    assert not isinstance(results, PositionMoved)
    assert await bench.store.followed(partition) == 10
    before = await bench.everything()
    assert await bench.store.follow_put(partition, 9, 20, [(CART, state_at(2000))]) == PositionMoved(10)
    assert await bench.store.follow_put(partition, None, 20, []) == PositionMoved(10)
    assert await bench.everything() == before


async def test_a_wiped_partition_is_not_followed(bench: Bench, partition: int) -> None:
    await bench.client.execute("FLUSHALL")
    assert await bench.store.follow_put(partition, 0, 10, [(CART, state_at(1000))]) == PositionMoved(None)
    assert await bench.client.execute("DBSIZE") == 0


async def test_an_expired_cart_is_put_as_absence_but_not_over_a_write_it_does_not_know(
    bench: Bench, partition: int
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
    await bench.store.put(partition, [(CART, state)])
    (result,) = await bench.store.put(partition, [(CART, expired)])
    assert result.outcome is PutOutcome.REMOVED
    assert isinstance(await bench.store.read(CART), Missing)
    await bench.store.put(partition, [(CART, state)])
    answer = await applied(bench, op_id="meanwhile")
    (result,) = await bench.store.put(partition, [(CART, expired)])
    assert (result.outcome, result.uncovered) == (
        PutOutcome.UNCOVERED,
        ((answer.operation_version, "meanwhile"),),
    )


async def test_a_cart_of_another_partition_is_not_put(bench: Bench, partition: int) -> None:
    with pytest.raises(ValueError, match="belongs to partition"):
        await bench.store.put((partition + 1) % 16, [(CART, state_at(1000))])
