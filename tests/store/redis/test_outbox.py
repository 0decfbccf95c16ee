"""The outbox: what is read, removed, counted, and who may sweep."""

from store.redis import Applied
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_requests import CART, applied


async def filled(fixture: StoreFixture, count: int) -> list[Applied]:
    """Some changes of one cart."""
    return [await applied(fixture, op_id=f"op-{number}") for number in range(count)]


async def test_entries_are_read_oldest_first_and_paged_by_id(fixture: StoreFixture) -> None:
    changes = await filled(fixture, 5)
    partition = changes[0].partition
    first = await fixture.store.outbox_read(partition, count=3)
    rest = await fixture.store.outbox_read(partition, first[-1].id, count=3)
    assert [entry.op_id for entry in first + rest] == [f"op-{number}" for number in range(5)]
    assert [entry.event for entry in first + rest] == [change.entry.event for change in changes]
    assert {entry.cart_id for entry in first} == {CART}


async def test_young_entries_are_left_to_their_gateway(fixture: StoreFixture) -> None:
    (change,) = await filled(fixture, 1)
    assert await fixture.store.outbox_read(change.partition, min_age_us=60_000_000) == []


async def test_an_entry_of_another_operation_under_the_same_id_stays(fixture: StoreFixture) -> None:
    (change,) = await filled(fixture, 1)
    assert await fixture.store.outbox_remove(change.partition, [(change.entry.id, "someone-elses")]) == 0
    assert (
        await fixture.store.outbox_remove(change.partition, [(change.entry.id, "op-0"), ("1-1", "op-0")]) == 1
    )
    assert await fixture.store.outbox_remove(change.partition, [(change.entry.id, "op-0")]) == 0


async def test_depths_count_entries_and_bytes_and_end_at_zero(fixture: StoreFixture) -> None:
    changes = await filled(fixture, 3)
    partition = changes[0].partition
    depth = (await fixture.store.outbox_depths())[partition]
    assert (depth.partition, depth.entries) == (partition, 3)
    assert depth.bytes == sum(len(change.entry.event) + len("op-0") + len(CART) for change in changes)
    assert await fixture.store.outbox_remove(partition, [(changes[0].entry.id, "op-0")]) == 1
    remaining = (await fixture.store.outbox_depths())[partition]
    assert (remaining.entries, remaining.bytes) == (
        2,
        depth.bytes - len(changes[0].entry.event) - len("op-0") - len(CART),
    )
    await fixture.store.outbox_remove(
        partition, [(change.entry.id, f"op-{n}") for n, change in enumerate(changes)]
    )
    empty = (await fixture.store.outbox_depths())[partition]
    assert (empty.entries, empty.bytes, empty.oldest_us) == (0, 0, 0)


async def test_the_age_of_the_backlog_comes_with_every_change(fixture: StoreFixture) -> None:
    first = await applied(fixture, op_id="first")
    await fixture.client.execute("BLPOP", "nothing", 0.05)
    second = await applied(fixture, op_id="second")
    assert first.oldest_outbox_us < 50_000 <= second.oldest_outbox_us
    await fixture.store.outbox_remove(first.partition, [(first.entry.id, "first")])
    third = await applied(fixture, op_id="third")
    # However late it comes: it is not the first one's age any more.
    assert third.oldest_outbox_us < (third.operation_version - first.operation_version) // 2
    await fixture.store.outbox_remove(
        first.partition, [(second.entry.id, "second"), (third.entry.id, "third")]
    )
    assert (await fixture.store.outbox_depths())[first.partition].oldest_us == 0


async def test_one_sweeper_at_a_time(fixture: StoreFixture) -> None:
    assert await fixture.store.acquire_sweeper(3, "one", 60_000)
    assert await fixture.store.acquire_sweeper(3, "one", 60_000)
    assert not await fixture.store.acquire_sweeper(3, "other", 60_000)
    assert await fixture.store.acquire_sweeper(4, "other", 60_000)
    await fixture.client.execute("DEL", fixture.layout.of_partition(3).sweeper)
    assert await fixture.store.acquire_sweeper(3, "other", 60_000)


async def test_entries_are_removed_whatever_lies_between_them_and_in_whatever_order(
    fixture: StoreFixture,
) -> None:
    changes = await filled(fixture, 12)
    partition = changes[0].partition
    named = [(change.entry.id, f"op-{number}") for number, change in enumerate(changes)]
    assert await fixture.store.outbox_remove(partition, [named[11], named[0], named[7], named[0]]) == 3
    assert await fixture.store.outbox_remove(partition, [("0-1", "op-0"), *reversed(named)]) == 9
    assert (await fixture.store.outbox_depths())[partition].bytes == 0
