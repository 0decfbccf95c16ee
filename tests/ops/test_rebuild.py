"""Postgres was restored to what it was an hour ago: `carts` is written into it again."""

import psycopg

from tests.ops.command_line import CommandLine
from tests.sinks.cart_records import TopicWriter, cart_in, grow, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT


def versions(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT cart_id, n FROM carts").fetchall())


def execute(url: str, statement: bytes, *parameters: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement, parameters)


async def test_lost_and_old_rows_come_back_and_newer_ones_stay(
    command_line: CommandLine, topics: TopicWriter, database: str
) -> None:
    carts = [new_cart_id() for _ in range(30)]
    for operations in (1, 2, 3):
        await topics.states({cart_id: grow(cart_id, operations) for cart_id in carts})
    first = await command_line.run("rebuild")
    assert first.status == 0
    assert "90 records of carts, 30 rows written" in first.output

    lost, old, newer = carts[:10], carts[10:20], carts[20]
    execute(database, b"DELETE FROM carts WHERE cart_id = ANY(%s)", lost)
    execute(database, b"UPDATE carts SET n = 1, v = v - 4000 WHERE cart_id = ANY(%s)", old)
    execute(database, b"UPDATE carts SET n = 9, v = v + 4000 WHERE cart_id = %s", newer)
    again = await command_line.run("rebuild")
    assert "20 rows written" in again.output
    assert versions(database) == {**dict.fromkeys(carts, 3), newer: 9}
    assert "0 rows written" in (await command_line.run("rebuild")).output


async def test_what_was_deleted_stays_deleted_and_what_nobody_can_read_is_left_out(
    command_line: CommandLine, topics: TopicWriter, database: str
) -> None:
    deleted, poisoned, fine = (cart_in(4) for _ in range(3))
    await topics.states({cart_id: grow(cart_id, 2) for cart_id in (deleted, fine)})
    await topics.null(deleted, grow(deleted, 2).version)
    await topics.raw(poisoned, b"not JSON")
    answer = await command_line.run("rebuild", "--partition", "4")
    assert answer.status == 0
    assert "1 left out" in answer.errors
    assert "carts/4/" in answer.errors
    assert versions(database) == {fine: 2}


async def test_only_the_partition_asked_for_is_written(
    command_line: CommandLine, topics: TopicWriter, database: str
) -> None:
    here, there = cart_in(1), cart_in(2)
    await topics.states({cart_id: grow(cart_id, 1) for cart_id in (here, there)})
    await command_line.run("rebuild", "--partition", "1")
    assert versions(database).keys() == {here}
    wrong = await command_line.run("rebuild", "--partition", str(LAYOUT.partitions))
    assert "there is no partition 16" in wrong.errors


async def test_a_database_without_the_schema_says_what_to_do(
    command_line: CommandLine, topics: TopicWriter, postgres_url: str
) -> None:
    await topics.states({(cart_id := new_cart_id()): grow(cart_id, 1)})
    command_line.told["CARTSTREAM_POSTGRES_URL"] = postgres_url
    for command in (("rebuild",), ("restore", "--from", "postgres"), ("verify",)):
        answer = await command_line.run(*command)
        assert answer.status in {1, 2}
        assert "cartstream migrate" in answer.errors
