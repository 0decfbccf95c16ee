"""User ids that look like syntax go the whole way: gateway, topics, Postgres, restore, operators."""

from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
import redis.asyncio

from store.redis import Layout
from tests.merges.merge_client import MergeClient
from tests.ops.command_line import CommandLine, environment
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.registry import PARTITIONS

LOOKS_LIKE_SYNTAX = [
    *("{x}", "a b", "a%20b", "%7Bx%7D", "a:b", "a/b", "../b", "*?[x]", "'; --", "`x` $(x) ${x}", "%s %d {0}"),
    *("[red]x[/red]", "<b>&amp;</b>", "--help", "a,b;c|d", "me", "guest:x", "x for user:y"),
    *("日本", "é", "😀" * 100, "}:cart:x", "}:ops:x", " 1-1-000000000000"),
]


@pytest.fixture
def command_line(urls: Urls) -> CommandLine:
    """Somebody at the command line of this shop."""
    return CommandLine(
        {
            **environment(urls.kafka.kafka_bootstrap, urls.redis, urls.database),
            "CARTSTREAM_POSTGRES_SCHEMA": urls.schema,
        }
    )


def path_of(cart_id: str) -> str:
    """The cart's segment of the path."""
    return quote(cart_id, safe="")


async def differing(command_line: CommandLine) -> set[str]:
    """The ids of the carts that `verify` names."""
    found = await command_line.json("verify", "--settle", "0.1")
    return {each["cart_id"] for each in found["carts_that_differ"]}


async def test_ids_that_look_like_syntax_go_the_whole_way(
    client: MergeClient, urls: Urls, command_line: CommandLine
) -> None:
    mark = uuid4().hex[:8]
    of_others = await differing(command_line)
    carts = [f"user:{mark}{text}" for text in LOOKS_LIKE_SYNTAX]
    for cart_id in carts:
        await client.add(path_of(cart_id), "mug", 2)
    guest = client.guest()
    await client.add(guest, "tea")
    into = carts[0]
    assert (await client.ask(path_of(into), guest)).status_code in {200, 202}

    async def merged() -> bool:
        return await client.quantities(path_of(into)) == {"mug": 2, "tea": 1}

    await until(merged, "the guest's cart merged")
    before = {cart_id: await client.read(path_of(cart_id)) for cart_id in carts}
    assert [cart["cart_id"] for cart in before.values()] == carts

    async def in_postgres() -> bool:
        async with await psycopg.AsyncConnection.connect(urls.postgres) as connection:
            rows = await (
                await connection.execute("SELECT cart_id, n FROM carts WHERE cart_id = ANY(%s)", [carts])
            ).fetchall()
        return dict(rows) == {cart_id: 2 if cart_id == into else 1 for cart_id in carts}

    await until(in_postgres, "every row")

    async with redis.asyncio.Redis.from_url(urls.redis) as raw:
        await raw.flushall()

    async def restored() -> bool:
        async with redis.asyncio.Redis.from_url(urls.redis) as raw:
            return all([await raw.exists(Layout(PARTITIONS).of_cart(cart_id).cart) for cart_id in carts])

    await until(restored, "every cart back in Redis")
    assert {cart_id: await client.read(path_of(cart_id)) for cart_id in carts} == before

    assert not differing_of(await differing(command_line) - of_others, mark)
    async with await psycopg.AsyncConnection.connect(urls.postgres, autocommit=True) as connection:
        await connection.execute("DELETE FROM carts WHERE cart_id = ANY(%s)", [carts])
    assert differing_of(await differing(command_line) - of_others, mark) == set(carts)
    text = (await command_line.run("verify", "--settle", "0.1")).output
    assert "they differ" in text


def differing_of(found: set[str], mark: str) -> set[str]:
    """Those of this test, and those that nobody has ever named."""
    return {cart_id for cart_id in found if mark in cart_id or not cart_id.startswith(("user:", "guest:"))}
