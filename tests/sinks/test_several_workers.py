"""Several workers of the Postgres sink under load: they come, are killed and go, and no row is missing."""

import asyncio
import os
import signal
from pathlib import Path

import psycopg
import pytest

from carts.state import State
from runtime.failstop import EXIT_RESTART
from runtime.settings import KafkaSettings
from tests.sinks.cart_records import TopicWriter, grow, new_cart_id
from tests.support.groups import until_shared
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.groups import POSTGRES_SINK

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


class Growing:
    """Carts that get one more operation, again and again."""

    def __init__(self, topics: TopicWriter) -> None:
        self._topics = topics
        self._ended = asyncio.Event()
        self.states: dict[str, State] = {}

    async def run(self) -> None:
        """Until `end`."""
        carts = [new_cart_id() for _ in range(32)]
        while not self._ended.is_set():
            grown = {cart_id: grow(cart_id, 1, state=self.states.get(cart_id)) for cart_id in carts}
            await self._topics.states(grown)
            self.states = grown
            await asyncio.sleep(0.3)

    def end(self) -> None:
        """Let `run` return after the records under way are acknowledged."""
        self._ended.set()


async def test_workers_come_are_killed_and_go_and_no_row_is_missing(
    kafka: KafkaSettings, topics: TopicWriter, sink: AgentProcess, database: str, tmp_path: Path
) -> None:
    environment = {
        "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
        "CARTSTREAM_POSTGRES_URL": database,
        "CARTSTREAM_GROUP_INSTANCE_ID": "several",
    }
    several = AgentProcess(("sinks", "postgres", "--workers", "3"), environment, tmp_path, "several")
    growing = Growing(topics)
    load = asyncio.create_task(growing.run())
    try:
        await sink.start()
        await several.start()
        # On a machine without time to spare it has taken itself for frozen; nobody starts it again here.
        assert await sink.stop() in {0, EXIT_RESTART}
        await until_shared(kafka, POSTGRES_SINK, 3)
        victim = several.workers()["several-0"]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: several.workers().get("several-0", victim) != victim, "a new worker", every_s=0.3)
        await until(several.ready_file.exists, "all workers are ready", every_s=0.3)
        await sink.start()
        assert await several.stop() == 0
    finally:
        growing.end()
        await load
        several.kill()

    async def all_written() -> bool:
        return sink.is_ready() and await rows_are(database, growing.states)

    await until(all_written, "every row as it was last acknowledged", every_s=0.3)
    await until_shared(kafka, POSTGRES_SINK, 1)


async def rows_are(url: str, states: dict[str, State]) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute(
            "SELECT cart_id, v, n FROM carts WHERE cart_id = ANY(%s)", [list(states)]
        )
        found = {cart_id: (v, n) async for cart_id, v, n in rows}
    return found == {
        cart_id: (state.version_number, state.operation_count) for cart_id, state in states.items()
    }
