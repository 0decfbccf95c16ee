"""Dead letters on the real broker: isolated, listed, shown, replayed once however often one tries."""

import re
import time
from functools import partial
from typing import Any

import pytest

from runtime.settings import KafkaSettings
from tests.ops.command_line import CommandLine
from tests.ops.states import Changes, state_in_carts
from tests.sinks.cart_records import TopicWriter, add, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.support.waiting import until
from topics.codec import encode_change
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, PARTITIONS


async def letters(command_line: CommandLine, cart_id: str, *options: str) -> list[dict[str, Any]]:
    found = await command_line.json("dlq", "list", *options)
    return [each for each in found["dead_letters"] if each["key"] == cart_id]


async def some_letters(command_line: CommandLine, cart_id: str, count: int) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]]:
        found = await letters(command_line, cart_id)
        return found if len(found) == count else []

    return await until(enough, f"{count} letters of {cart_id}", every_s=0.5)


@pytest.mark.usefixtures("compaction")
async def test_poison_is_isolated_listed_and_shown_and_its_replay_refused(
    command_line: CommandLine, topics: TopicWriter, changes: Changes, kafka: KafkaSettings
) -> None:
    cart_id = new_cart_id()
    await changes.raw(cart_id, b"not JSON \xff\x1b[2J")
    await topics.change(add(cart_id, 1))
    (one,) = await some_letters(command_line, cart_id, 1)
    assert one["code"] == "not_json"
    assert one["source"].startswith(f"{CART_CHANGED.name}/{partition_of(cart_id.encode(), PARTITIONS)}/")
    await until(partial(state_in_carts, kafka, cart_id), "the change behind the poison in carts")

    shown = await command_line.run("dlq", "show", one["id"])
    assert "not JSON \\xff\\u001b[2J" in shown.output
    assert await letters(command_line, cart_id, "--code", "unknown_kind") == []

    refused = await command_line.run("dlq", "replay", one["id"])
    assert refused.status == 1
    assert "not_json" in refused.output
    assert len(await letters(command_line, cart_id)) == 1

    assert (await command_line.run("dlq", "drop", one["id"], "--dry-run")).status == 0
    assert len(await letters(command_line, cart_id)) == 1
    assert (await command_line.run("dlq", "drop", one["id"])).status == 0
    assert await letters(command_line, cart_id) == []
    (dropped,) = await letters(command_line, cart_id, "--all")
    assert dropped["handled"].startswith("dropped at")


@pytest.mark.usefixtures("compaction")
async def test_a_letter_replayed_twice_counts_once(
    command_line: CommandLine, topics: TopicWriter, changes: Changes, kafka: KafkaSettings
) -> None:
    cart_id = new_cart_id()
    right = partition_of(cart_id.encode(), PARTITIONS)
    misplaced = encode_change(add(cart_id, 2))
    await topics.change(add(cart_id, 1))
    for _ in range(2):  # as a client with a partitioner of its own that retries
        await changes.raw(cart_id, misplaced, partition=(right + 1) % PARTITIONS)
    first, second = await some_letters(command_line, cart_id, 2)

    dry = await command_line.run("dlq", "replay", "--all", "--topic", "cart-changed", "--dry-run")
    assert dry.output.count("would replay") == 2
    assert len(await letters(command_line, cart_id)) == 2

    replayed = await command_line.run("dlq", "replay", first["id"])
    assert replayed.status == 0
    assert f"published as {CART_CHANGED.name}/{right}/" in replayed.output

    async def folded() -> bool:
        state = await state_in_carts(kafka, cart_id)
        return state is not None and state.operation_count == 2

    await until(folded, "the replayed change in carts")
    again = await command_line.run("dlq", "replay", first["id"])
    assert "left alone: replayed already" in again.output
    known = await command_line.run("dlq", "replay", second["id"])
    assert "the cart has this change already" in known.output
    state = await state_in_carts(kafka, cart_id)
    assert state is not None
    assert state.operation_count == 2
    assert await letters(command_line, cart_id) == []


@pytest.mark.usefixtures("compaction")
async def test_nothing_is_replayed_past_a_backlog(
    command_line: CommandLine, changes: Changes, redis: Redis
) -> None:
    cart_id = new_cart_id()
    right = partition_of(cart_id.encode(), PARTITIONS)
    await changes.raw(cart_id, encode_change(add(cart_id, 1)), partition=(right + 1) % PARTITIONS)
    (one,) = await some_letters(command_line, cart_id, 1)

    keys = LAYOUT.of_partition(right)
    minute_ago = time.time_ns() // 1_000_000 - 60_000
    await redis.client.execute(
        "XADD", keys.outbox, f"{minute_ago}-0", "op", "o", "cart", cart_id, "e", '{"v":2}'
    )
    await redis.client.execute("SET", keys.backlog, f"10 {minute_ago}")
    refused = await command_line.run("dlq", "replay", one["id"])
    assert refused.status == 1
    waited = re.search(r"have waited in the outbox for (\d+)", refused.output)
    assert waited, refused.output
    assert int(waited[1]) >= 60

    await redis.client.execute("DEL", keys.outbox, keys.backlog)
    assert (await command_line.run("dlq", "replay", one["id"])).status == 0


async def test_a_wrong_id_says_what_to_do(command_line: CommandLine) -> None:
    assert "partition:offset" in (await command_line.run("dlq", "show", "seven")).errors
    assert "cartstream dlq list" in (await command_line.run("dlq", "replay", "3:9")).errors
    assert "there is no partition 99" in (await command_line.run("dlq", "drop", "99:1")).errors
    assert (await command_line.run("dlq", "replay")).status == 2
