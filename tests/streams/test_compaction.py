"""The compaction agent on a real broker: whatever happens to records and workers, `carts` is right."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import pytest

from carts.fold import fold
from carts.operations import Add, Change, Clear, Expire, Item, Purge, Remove, Set, Void
from carts.state import State
from runtime.settings import KafkaSettings
from tests.streams.conftest import Shopper, Topics
from tests.support.processes import AgentProcess
from tests.support.topics import floored_partitions
from topics.codec import decode_cart, decode_purge_floor, encode_change
from topics.headers import read_headers, version_header
from topics.partitioner import partition_of
from topics.records import cart_record
from topics.registry import CART_CHANGED, CARTS, PARTITIONS

DAY_US = 24 * 60 * 60 * 1_000_000

Workers = Callable[[str], AgentProcess]
NewShopper = Callable[[], Shopper]

pytestmark = pytest.mark.timeout(300)


def folded(changes: Sequence[Change]) -> State:
    state: State | None = None
    for change in changes:
        state = fold(state, change).state
    assert state is not None
    return state


def partition(cart_id: str) -> int:
    return partition_of(cart_id.encode(), PARTITIONS)


async def test_late_duplicate_and_reordered_changes_end_as_if_they_had_come_in_order(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper = new_shopper()
    changes = [
        shopper.change(),
        shopper.change(Set("sku-2", 5, 100, "EUR", Item("sku-2"))),
        shopper.change(Add("sku-2", 1, 110, "EUR", Item("sku-2"))),
        shopper.change(Remove("sku-1")),
        shopper.change(),
        shopper.change(Clear()),
        *[shopper.change() for _ in range(10)],
    ]
    shuffled = [*changes, *changes]
    random.Random(7).shuffle(shuffled)
    await workers("w").start()
    await topics.change(*shuffled)
    cart = await topics.until_counted(shopper.cart_id, len(changes))
    assert cart == cart_record(shopper.cart_id, folded(changes))
    # One for each run that has changed the cart.
    assert 1 <= len(topics.records(shopper.cart_id)) <= len(changes)


async def test_every_record_says_its_version_and_the_change_it_reflects(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper = new_shopper()
    await workers("w").start()
    await topics.change(shopper.change(), shopper.change())
    await topics.until_counted(shopper.cart_id, 2)
    offsets = []
    for record in topics.records(shopper.cart_id):
        headers = read_headers(record.headers)
        cart = decode_cart(record.value)
        assert headers.cart_version == cart.version
        assert version_header(record.headers) == cart.state.version
        assert headers.source_partition == record.partition == partition(shopper.cart_id)
        assert headers.type == "cartstream.cart.state.v1"
        offsets.append(headers.source_offset)
    assert offsets == sorted(set(offsets), key=lambda offset: offset or 0)


async def test_what_no_cart_can_take_goes_to_the_dead_letters_and_holds_up_nothing(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper, stranger = new_shopper(), new_shopper()
    key = shopper.cart_id.encode()
    right = partition(shopper.cart_id)
    good = encode_change(shopper.change())
    poison: list[tuple[bytes | None, int, str]] = [
        (b"\xff?", right, "not_json"),
        (None, right, "empty"),
        (good.replace(b'"add"', b'"teleport"'), right, "unknown_kind"),
        (encode_change(shopper.change(Void())), right, "unsupported"),
        (encode_change(stranger.change()), right, "wrong_key"),
        (encode_change(shopper.change()), (right + 1) % PARTITIONS, "wrong_partition"),
    ]
    await workers("w").start()
    for value, where, _ in poison:
        await topics.raw(CART_CHANGED.name, key, value, where)
    await topics.change(shopper.change())
    cart = await topics.until_counted(shopper.cart_id, 1)
    await topics.until(lambda: len(topics.dead_letters(key)) == len(poison))

    assert cart.state.operation_count == 1
    letters = {dict(letter.headers)["dlq_error_code"].decode(): letter for letter in topics.dead_letters(key)}
    assert set(letters) == {code for _, _, code in poison}
    for value, where, code in poison:
        headers = dict(letters[code].headers)
        assert letters[code].value == value
        assert headers["dlq_source_topic"] == CART_CHANGED.name.encode()
        assert headers["dlq_source_partition"] == str(where).encode()
        assert headers["dlq_error_detail"]


async def test_a_worker_started_again_goes_on_where_it_stopped(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper = new_shopper()
    worker = workers("w")
    await worker.start()
    await topics.change(shopper.change(), shopper.change())
    await topics.until_counted(shopper.cart_id, 2)
    assert await worker.stop() == 0, worker.tail
    await topics.change(shopper.change())
    await worker.start()
    cart = await topics.until_counted(shopper.cart_id, 3)
    assert cart.state.operation_count == 3
    assert cart.lines[0].quantity == 3


@pytest.mark.drill
async def test_nothing_is_lost_or_doubled_when_workers_are_killed_under_load(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shoppers = [new_shopper() for _ in range(100)]
    sent: dict[str, list[Change]] = {shopper.cart_id: [] for shopper in shoppers}
    worker = workers("w")
    settings = {"CARTSTREAM_GROUP_INSTANCE_ID": "w"}
    await worker.start(**settings)
    for _ in range(3):
        for _ in range(3):
            changes = [shopper.change() for shopper in shoppers]
            await topics.change(*changes)
            for change in changes:
                sent[change.cart_id].append(change)
        # Under way: some of it is folded, some not.
        await topics.until(lambda: any(topics.records(cart_id) for cart_id in sent))
        await asyncio.to_thread(worker.kill)
        await worker.start(**settings)
    for cart_id, changes in sent.items():
        assert await topics.until_counted(cart_id, len(changes)) == cart_record(cart_id, folded(changes))


async def test_two_workers_share_the_carts_and_one_takes_over_from_the_other(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shoppers = [new_shopper() for _ in range(64)]
    sent: dict[str, list[Change]] = {shopper.cart_id: [] for shopper in shoppers}

    async def shop() -> None:
        changes = [shopper.change() for shopper in shoppers]
        await topics.change(*changes)
        for change in changes:
            sent[change.cart_id].append(change)

    first, second = workers("first"), workers("second")
    await first.start()
    await shop()
    joining = asyncio.create_task(second.start())
    while not joining.done():
        await shop()
        await asyncio.wait([joining], timeout=0.2)
    await joining
    await shop()
    stopping = asyncio.create_task(first.stop())
    while not stopping.done():
        await shop()
        await asyncio.wait([stopping], timeout=0.2)
    assert await stopping == 0, first.tail
    await shop()
    for cart_id, changes in sent.items():
        assert await topics.until_counted(cart_id, len(changes)) == cart_record(cart_id, folded(changes))


async def test_an_older_state_written_by_a_worker_that_woke_up_is_answered_with_the_newest(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper = new_shopper()
    await workers("w").start()
    await topics.change(shopper.change())
    await topics.until_counted(shopper.cart_id, 1)
    stale = topics.records(shopper.cart_id)[0]
    await topics.change(shopper.change())
    await topics.until_counted(shopper.cart_id, 2)

    await topics.raw(CARTS.name, stale.key, stale.value, stale.partition, stale.headers)

    await topics.until(lambda: len(topics.records(shopper.cart_id)) == 4)
    assert [
        decode_cart(record.value).state.operation_count for record in topics.records(shopper.cart_id)
    ] == [1, 2, 1, 2]
    assert read_headers(topics.records(shopper.cart_id)[-1].headers).source_offset is None


async def test_a_purged_cart_is_gone_for_good_and_a_late_change_cannot_bring_it_back(
    kafka: KafkaSettings, topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    # Below another test's floor these old changes would be refused.
    floored = await floored_partitions(kafka)
    shopper = next(each for _ in range(1000) if partition((each := new_shopper()).cart_id) not in floored)
    key, where = shopper.cart_id.encode(), partition(shopper.cart_id)
    now_us = int(time.time() * 1e6)
    added = shopper.change(seconds=-100 * 24 * 3600)
    late = shopper.change(seconds=-99 * 24 * 3600)
    worker = workers("w")
    await worker.start()
    await topics.change(added)
    alive = (await topics.until_counted(shopper.cart_id, 1)).state
    at = now_us - 80 * DAY_US
    await topics.change(
        shopper.change(Expire(alive.version_number, alive.operation_count, at), op_id="!expire")
    )
    expired = (await topics.until_counted(shopper.cart_id, 2)).state
    assert expired.expired

    purge = Purge(expired.version_number, expired.operation_count, now_us - 40 * DAY_US)
    await topics.change(shopper.change(purge, op_id="!purge"))
    await topics.until(lambda: topics.records(shopper.cart_id)[-1].value is None)

    null = topics.records(shopper.cart_id)[-1]
    assert version_header(null.headers) == expired.version
    await topics.until(lambda: bool(topics.floors(where)))
    assert decode_purge_floor(topics.floors(where)[-1].value).purge_floor >= expired.version_number
    assert not [record for record in topics.seen[CARTS.name] if record.key.startswith(b"!")]

    assert await worker.stop() == 0, worker.tail
    await worker.start()
    await topics.change(late)
    await topics.until(lambda: len(topics.dead_letters(key)) == 1)
    assert dict(topics.dead_letters(key)[0].headers)["dlq_error_code"] == b"below_purge_floor"

    await topics.change(shopper.change())
    await topics.until(lambda: topics.records(shopper.cart_id)[-1].value is not None)
    reborn = topics.cart(shopper.cart_id)
    assert reborn is not None
    assert (reborn.state.operation_count, reborn.state.start >= expired.version_number) == (1, True)


async def test_a_worker_does_not_start_on_topics_of_another_size(topics: Topics, workers: Workers) -> None:
    worker = workers("w")
    with pytest.raises(AssertionError, match="CARTSTREAM_PARTITIONS=16"):
        await worker.start(CARTSTREAM_PARTITIONS="8")
    assert topics.seen[CARTS.name] == []


async def test_a_purged_cart_that_a_worker_writes_again_while_nobody_owns_it_is_deleted_again(
    topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    shopper, worker = new_shopper(), workers("w")
    await worker.start()
    await topics.change(shopper.change())
    alive = (await topics.until_counted(shopper.cart_id, 1)).state.version
    await topics.change(command(shopper, Expire(alive.number, alive.operation_count, alive.number // 2)))
    expired = (await topics.until_counted(shopper.cart_id, 2)).state.version
    await topics.change(
        command(shopper, Purge(expired.number, expired.operation_count, expired.number // 2 + 31 * DAY_US))
    )
    await topics.until(lambda: topics.records(shopper.cart_id)[-1].value is None)
    assert await worker.stop() == 0, worker.tail

    zombie = topics.records(shopper.cart_id)[0]
    await topics.raw(CARTS.name, zombie.key, zombie.value, zombie.partition, zombie.headers)
    await worker.start()

    await topics.until(lambda: len(topics.records(shopper.cart_id)) == 5)
    again = topics.records(shopper.cart_id)[-1]
    assert again.value is None
    assert version_header(again.headers) == alive


def command(shopper: Shopper, step: Expire | Purge) -> Change:
    """What the expiry job publishes."""
    return Change(cart_id=shopper.cart_id, version=2 * step.at, op_id=f"!{step.at}", delta=(step,))
