"""The Postgres sink as a process: nothing is lost and nothing is skipped, whatever dies."""

import asyncio
import signal

import psycopg
import pytest

from carts.state import State
from devstack.embedded import EmbeddedStack
from devstack.settings import POSTGRES
from runtime.settings import KafkaSettings
from tests.sinks.cart_records import TopicWriter, expire, grow, new_cart_id
from tests.sinks.kill_loop import kill_loop
from tests.support.outages import frozen
from tests.support.processes import AgentProcess
from tests.support.topics import reading_from_now
from tests.support.waiting import until
from topics.codec import encode_cart
from topics.records import cart_record
from topics.registry import DEAD_LETTERS


async def versions(url: str, carts: list[str]) -> dict[str, tuple[int, int]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute("SELECT cart_id, v, n FROM carts WHERE cart_id = ANY(%s)", [carts])
        return {cart_id: (v, n) async for cart_id, v, n in rows}


async def all_written(url: str, states: dict[str, State]) -> None:
    """Wait until the rows are these states."""
    wanted = {cart_id: (state.version_number, state.operation_count) for cart_id, state in states.items()}

    async def written() -> bool:
        return await versions(url, list(states)) == wanted

    await until(written, f"{len(states)} rows as in carts")


async def test_carts_become_rows_and_later_states_updates(
    sink: AgentProcess, topics: TopicWriter, database: str
) -> None:
    states = {cart_id: grow(cart_id, 1 + number % 3) for number, cart_id in enumerate(map(_new, range(50)))}
    await topics.states(states)
    await sink.start()
    await all_written(database, states)
    later = {cart_id: grow(cart_id, 2, state=state) for cart_id, state in states.items()}
    cart_id, state = next(iter(later.items()))
    later[cart_id] = expire(cart_id, state)
    await topics.states(later)
    await all_written(database, later)
    assert await sink.stop() == 0


async def test_a_null_with_its_version_deletes_the_row_and_one_without_deletes_nothing(
    sink: AgentProcess, topics: TopicWriter, database: str
) -> None:
    gone, kept, last = new_cart_id(), new_cart_id(), new_cart_id()
    states = {cart_id: grow(cart_id, 2) for cart_id in (gone, kept)}
    await topics.states(states)
    await sink.start()
    await all_written(database, states)
    await topics.null(gone, states[gone].version)
    await topics.null(kept, None)

    async def deleted() -> bool:
        return gone not in await versions(database, [gone])

    await until(deleted, "the row is deleted")
    await topics.state(last, grow(last, 1))
    await all_written(database, {last: grow(last, 1), kept: states[kept]})


async def test_poison_goes_to_the_dead_letters_and_the_others_are_written(
    sink: AgentProcess, topics: TopicWriter, database: str, kafka: KafkaSettings
) -> None:
    states = {cart_id: grow(cart_id, 1) for cart_id in map(_new, range(40))}
    unreadable, nul = new_cart_id(), new_cart_id()
    async with reading_from_now(kafka, DEAD_LETTERS.name) as dead_letters:
        await topics.states(states)
        await topics.raw(unreadable, b'{"cart_id": 12}')
        poisoned = encode_cart(cart_record(nul, grow(nul, 1))).replace("Ümläut".encode(), b"\\u0000")
        await topics.raw(nul, poisoned)
        more = {cart_id: grow(cart_id, 1) for cart_id in map(_new, range(40))}
        await topics.states(more)
        await sink.start()
        await all_written(database, {**states, **more})
        found = {cart_id: (await dead_letters.first(cart_id)).value for cart_id in (unreadable, nul)}
    assert found[nul] == poisoned
    assert found[unreadable] == b'{"cart_id": 12}'
    assert await versions(database, [unreadable, nul]) == {}


@pytest.mark.embedded
@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_postgres_that_goes_away_midway_loses_nothing(
    fault: str, sink: AgentProcess, topics: TopicWriter, database: str, stack: EmbeddedStack
) -> None:
    states = {cart_id: grow(cart_id, 1) for cart_id in map(_new, range(3000))}
    carts = list(states)
    await sink.start()
    server = stack.component(POSTGRES)
    await topics.states({cart_id: states[cart_id] for cart_id in carts[:1000]})
    if fault == "killed":
        await asyncio.to_thread(server.kill, signal.SIGKILL)
        try:
            await topics.states({cart_id: states[cart_id] for cart_id in carts[1000:2000]})
        finally:
            await asyncio.to_thread(server.start)
    else:
        with frozen(stack, POSTGRES):
            await topics.states({cart_id: states[cart_id] for cart_id in carts[1000:2000]})
    await topics.states({cart_id: states[cart_id] for cart_id in carts[2000:]})
    await all_written(database, states)


@pytest.mark.drill
async def test_no_row_is_lost_when_the_sink_is_killed_again_and_again(
    kafka: KafkaSettings, database: str
) -> None:
    outcome = await kill_loop(kafka, database, kills=3, rate=500, seed=7)
    assert outcome.kills == 3
    assert outcome.lost == 0
    assert outcome.rows >= outcome.carts > 0


def _new(_: int) -> str:
    return new_cart_id()
