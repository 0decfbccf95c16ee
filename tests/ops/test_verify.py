"""Verify and repair on real servers: each kind of difference is found, mended, and then gone."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

import cli.verify
from carts.state import State
from ops.progress import Advance, Bars
from runtime.settings import KafkaSettings
from tests.ops.command_line import CommandLine
from tests.ops.states import changes_published
from tests.sinks.cart_records import TopicWriter, expire, grow, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT, CartWriter, Redis
from tests.support.copies import put_copies
from tests.support.waiting import until

SETTLE = ("--settle", "0.1")


async def put(redis: Redis, cart_id: str, state: State) -> None:
    await put_copies(redis.store, LAYOUT.partition(cart_id), [(cart_id, state)])


def change_rows(url: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(statement.encode(), parameters).rowcount == 1


async def equal_stores(
    command_line: CommandLine, topics: TopicWriter, redis: Redis, count: int = 6
) -> list[str]:
    """Carts of two operations that all three stores have."""
    carts = [new_cart_id() for _ in range(count)]
    await topics.states({cart_id: grow(cart_id, 1) for cart_id in carts})
    await topics.states({cart_id: grow(cart_id, 2) for cart_id in carts})
    for cart_id in carts:
        await put(redis, cart_id, grow(cart_id, 2))
    assert (await command_line.run("rebuild")).status == 0
    return carts


async def test_equal_stores_are_called_equal(
    command_line: CommandLine, topics: TopicWriter, ready: Redis
) -> None:
    carts = await equal_stores(command_line, topics, ready)
    keys = LAYOUT.of_cart(carts[0])
    await ready.client.execute("DEL", keys.cart, keys.ops, keys.win)  # as when its time has run out
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 0, answer.output
    assert "6 carts, 5 in Redis, 6 in Postgres: equal" in answer.output


async def test_a_hash_that_is_no_cart_differs_from_every_cart(
    command_line: CommandLine, topics: TopicWriter, ready: Redis
) -> None:
    carts = await equal_stores(command_line, topics, ready)
    key = LAYOUT.of_cart(carts[0]).cart
    await ready.client.execute("DEL", key)
    await ready.client.execute("HSET", key, "foo", "bar")
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 1, answer.output
    assert carts[0] in answer.output
    assert carts[1] not in answer.output


async def test_an_id_that_looks_like_the_end_of_a_key_is_one_cart(
    command_line: CommandLine, topics: TopicWriter, ready: Redis
) -> None:
    cart_id = f"{new_cart_id()}}}:cart:user:somebody-else"
    await topics.state(cart_id, grow(cart_id, 2))
    await put(ready, cart_id, grow(cart_id, 2))
    assert (await command_line.run("rebuild")).status == 0
    answer = await command_line.run("verify", *SETTLE)
    assert "1 carts, 1 in Redis, 1 in Postgres: equal" in answer.output


async def test_each_difference_is_found_mended_and_gone(
    command_line: CommandLine, topics: TopicWriter, ready: Redis, database: str
) -> None:
    old, forged, changed, missing, behind, expired = carts = await equal_stores(command_line, topics, ready)
    await topics.state(old, grow(old, 3))
    await topics.state(expired, expire(expired, grow(expired, 2)))
    change_rows(database, "UPDATE carts SET lines = '[]' WHERE cart_id = %s", changed)
    change_rows(database, "DELETE FROM carts WHERE cart_id = %s", missing)
    change_rows(database, "UPDATE carts SET v = v - 2000, n = 1 WHERE cart_id = %s", behind)
    await ready.client.execute("HDEL", LAYOUT.of_cart(forged).cart, "l:product-1")
    purged = new_cart_id()
    await put(ready, purged, grow(purged, 1))
    await topics.null(purged, grow(purged, 1).version)

    answer = await command_line.run("verify", *SETTLE, "--json")
    assert answer.status == 1
    assert answer.json["differences"] == {
        "redis_behind": 2,
        "redis_differs": 1,
        "redis_deleted": 1,
        "row_behind": 3,
        "row_differs": 1,
        "row_missing": 1,
    }
    named = {(each["kind"], each["cart_id"]) for each in answer.json["carts_that_differ"]}
    assert {("redis_behind", old), ("redis_differs", forged), ("row_differs", changed)} <= named
    assert {("row_missing", missing), ("row_behind", behind), ("redis_deleted", purged)} <= named

    table = await command_line.run("verify", *SETTLE)
    assert table.status == 1
    assert "they differ" in table.output

    repaired = await command_line.run("verify", "--repair", *SETTLE)
    assert repaired.status == 1
    assert "re-driven: 2 redis_behind" in repaired.output
    again = await command_line.run("verify", *SETTLE)
    assert again.status == 0, again.output
    assert [await ready.n(cart_id) for cart_id in carts] == [3, 2, 2, 2, 2, 3]


async def test_a_cart_that_only_its_row_has_is_told_and_no_difference(
    command_line: CommandLine, topics: TopicWriter, ready: Redis
) -> None:
    carts = await equal_stores(command_line, topics, ready, count=3)
    await ready.client.execute("DEL", LAYOUT.of_cart(carts[0]).cart)
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 0, answer.output
    assert "1 carts are in their rows only" in answer.output
    assert (await command_line.run("verify", *SETTLE, "--json")).json["in_rows_only"] == 1


async def test_a_change_in_flight_is_no_difference(
    command_line: CommandLine,
    topics: TopicWriter,
    ready: Redis,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cart_id = (await equal_stores(command_line, topics, ready, count=1))[0]
    change_rows(database, "CREATE TABLE late AS SELECT * FROM carts")
    change_rows(database, "DELETE FROM carts WHERE cart_id = %s", cart_id)
    looks: list[str] = []

    @contextmanager
    def landing() -> Iterator[Bars]:
        def bar(what: str, _total: int) -> Advance:
            if what.startswith("looking again"):
                looks.append(what)
                change_rows(database, "INSERT INTO carts SELECT * FROM late")
            return lambda _done: None

        yield bar

    monkeypatch.setattr(cli.verify, "bars", landing)
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 0, answer.output
    assert looks == ["looking again at 1 carts (1)"]


async def test_only_the_partitions_asked_for_are_looked_at(
    command_line: CommandLine, topics: TopicWriter, ready: Redis, database: str
) -> None:
    carts = await equal_stores(command_line, topics, ready, count=2)
    change_rows(database, "DELETE FROM carts WHERE cart_id = %s", carts[0])
    where = LAYOUT.partition(carts[0])
    assert (await command_line.run("verify", *SETTLE, "--partition", str(where))).status == 1
    assert (await command_line.run("verify", *SETTLE, "--partition", str((where + 1) % 16))).status == 0


@pytest.mark.usefixtures("compaction")
async def test_an_operation_that_fell_out_of_everything_but_redis_is_published_again(
    command_line: CommandLine,
    topics: TopicWriter,
    ready: Redis,
    kafka: KafkaSettings,
) -> None:
    writer = CartWriter(ready, topics)
    cart_id = new_cart_id()
    await writer.write(cart_id)
    waiting = await command_line.run("verify", "--repair", *SETTLE)
    assert waiting.status == 1
    assert "waits in the outbox" in waiting.output
    assert await changes_published(kafka) == 0

    keys = LAYOUT.of_partition(LAYOUT.partition(cart_id))
    await ready.client.execute("DEL", keys.outbox, keys.backlog)
    repaired = await command_line.run("verify", "--repair", *SETTLE)
    assert "re-driven: 1 redis_uncovered" in repaired.output

    async def in_all_three() -> bool:
        await command_line.run("rebuild")
        return (await command_line.run("verify", *SETTLE)).status == 0

    await until(in_all_three, "equal stores", every_s=0.5)
    assert await ready.n(cart_id) == 1


async def test_what_is_too_old_to_be_told_apart_is_only_reported(
    command_line: CommandLine, topics: TopicWriter, ready: Redis, kafka: KafkaSettings
) -> None:
    cart_id = new_cart_id()
    an_hour = 2 * 3600 * 1_000_000
    first = grow(cart_id, 1).version_number - an_hour
    await topics.state(cart_id, grow(cart_id, 1, first=first))
    await put(ready, cart_id, grow(cart_id, 2, first=first))
    await command_line.run("rebuild")
    answer = await command_line.run("verify", "--repair", *SETTLE)
    assert answer.status == 1
    assert "too old" in answer.output
    assert await changes_published(kafka) == 0


async def test_a_row_that_carts_does_not_know_points_to_the_last_resort(
    command_line: CommandLine, topics: TopicWriter, ready: Redis, database: str
) -> None:
    carts = await equal_stores(command_line, topics, ready, count=1)
    change_rows(
        database,
        "INSERT INTO carts SELECT %s, v, n, digest, status, currency, subtotal, lines, metadata, state"
        " FROM carts",
        f"user:{uuid.uuid4().hex}",
    )
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 1
    assert "restore --from postgres" in answer.output
    assert len(carts) == 1


async def test_changes_past_their_deadline_in_the_outbox_are_told(
    command_line: CommandLine, ready: Redis
) -> None:
    keys = LAYOUT.of_partition(5)
    await ready.client.execute("XADD", keys.outbox, "1-0", "op", "o", "cart", "user:1", "e", '{"v":2}')
    await ready.client.execute("SET", keys.backlog, "10 1")
    answer = await command_line.run("verify", *SETTLE, "--json")
    assert answer.status == 1
    assert answer.json["differences"] == {"outbox_waits": 1}


async def test_a_redis_that_is_being_restored_or_away_means_that_it_could_not_check(
    command_line: CommandLine,
) -> None:
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 2
    assert "cartstream restore" in answer.output
    command_line.told["CARTSTREAM_REDIS_URL"] = "redis://127.0.0.1:1"
    answer = await command_line.run("verify", *SETTLE)
    assert answer.status == 2
    assert "no connection to Redis" in answer.errors
