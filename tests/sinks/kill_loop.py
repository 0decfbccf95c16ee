"""Kills the Postgres sink with -9 again and again under load, then looks for every acknowledged cart.

    python -m tests.sinks.kill_loop --kills 20

Produce, fault, consume, validate. Most carts are written once and never again: one that is skipped stays
missing. A few change all the time: their rows must end at their last version. Uses the servers in
CARTSTREAM_KAFKA_BOOTSTRAP and CARTSTREAM_POSTGRES_URL, or starts its own.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import psycopg
from aiokafka import AIOKafkaProducer

from carts.state import State
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES
from runtime.settings import KafkaSettings
from store.postgres.migrate import migrate
from store.postgres.session import Address
from tests.sinks.cart_records import TopicWriter, grow
from tests.support.processes import sink_process
from tests.support.waiting import until
from topics.apply import apply

HOT_CARTS = 20
HOT_FOR = 2000
DRAINED_WITHIN_S = 300.0


class Outcome(msgspec.Struct):
    """What the loop showed. `lost`: carts that are missing in Postgres or stand at an older version.

    `gaps`: records lost on the way to the agent and fetched again, as far as the workers lived to tell.
    """

    kills: int = 0
    carts: int = 0
    records: int = 0
    rows: int = 0
    lost: int = 0
    gaps: int = 0
    seconds: float = 0.0


class Load:
    """Writes states of new carts, and the next state of a few, at a steady rate."""

    def __init__(self, kafka: KafkaSettings, rate: int) -> None:
        self._kafka, self._rate = kafka, rate
        self._run = uuid.uuid4().hex
        self._stopped = asyncio.Event()
        self.acknowledged: dict[str, State] = {}
        self.records = 0

    async def run(self) -> None:
        """Write until stopped."""
        async with AIOKafkaProducer(**self._kafka.client_options(), acks="all", linger_ms=5) as producer:
            topics = TopicWriter(producer)
            serial = 0
            while not self._stopped.is_set():
                pause = asyncio.create_task(asyncio.sleep(0.05))
                states: dict[str, State] = {}
                for _ in range(max(1, self._rate // 20)):
                    serial += 1
                    # They change for a while only: no cart takes thousands of operations in its window.
                    hot = f"user:{self._run}-hot-{serial % HOT_CARTS}-{serial // HOT_FOR}"
                    cart_id = hot if serial % 5 == 0 else f"user:{self._run}-{serial}"
                    states[cart_id] = grow(
                        cart_id, 1, state=states.get(cart_id, self.acknowledged.get(cart_id))
                    )
                await topics.states(states)
                self.acknowledged.update(states)
                self.records += len(states)
                await pause

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()


async def kill_loop(
    kafka: KafkaSettings, database: str, *, kills: int, rate: int = 1500, seed: int = 0
) -> Outcome:
    """Run it on these servers; the topics and the schema are there."""
    chance, outcome, began = random.Random(seed), Outcome(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sink-kill-loop-") as folder:
        environment = {
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "CARTSTREAM_POSTGRES_URL": database,
            "CARTSTREAM_SESSION_TIMEOUT_S": "6",
        }
        process = sink_process("postgres", environment, Path(folder))
        load = Load(kafka, rate)
        await process.start()
        loading = asyncio.create_task(load.run())
        try:
            while outcome.kills < kills:
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                outcome.gaps += await process.metric("cartstream_delivery_gaps_total")
                process.kill()
                outcome.kills += 1
                await process.start()
            load.stop()
            await loading
            with suppress(AssertionError):  # what is missing is counted below
                await until(lambda: _drained(database, load.acknowledged), "drained", DRAINED_WITHIN_S, 0.5)
            outcome.lost = len(await _missing(database, load.acknowledged))
            outcome.gaps += await process.metric("cartstream_delivery_gaps_total")
            await process.stop()
        finally:
            load.stop()
            process.kill()
            await asyncio.gather(loading, return_exceptions=True)
    outcome.carts, outcome.records = len(load.acknowledged), load.records
    outcome.rows = await _rows(database)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _drained(database: str, acknowledged: dict[str, State]) -> bool:
    return not await _missing(database, acknowledged)


async def _missing(database: str, acknowledged: dict[str, State]) -> Counter[str]:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT cart_id, v, n FROM carts")
        rows = {cart_id: (v, n) async for cart_id, v, n in cursor}
    return Counter(
        cart_id
        for cart_id, state in acknowledged.items()
        if rows.get(cart_id) != (state.version_number, state.operation_count)
    )


async def _rows(database: str) -> int:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        row = await (await connection.execute("SELECT count(*) FROM carts")).fetchone()
    assert row is not None
    return int(row[0])


async def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1500, help="records a second")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sink-kill-loop-stack-") as folder:
        stack = EmbeddedStack(Path(folder))
        stack.open()
        try:
            bootstrap, database = (
                os.environ.get(f"CARTSTREAM_{name}") for name in ("KAFKA_BOOTSTRAP", "POSTGRES_URL")
            )
            if bootstrap is None:
                await asyncio.to_thread(stack.ensure, KAFKA)
            if database is None:
                await asyncio.to_thread(stack.ensure, POSTGRES)
            kafka = KafkaSettings(kafka_bootstrap=bootstrap or stack.urls.kafka_bootstrap)
            await apply(kafka, allow_single=True)
            migrate(Address(database or stack.urls.postgres))
            outcome = await kill_loop(
                kafka,
                database or stack.urls.postgres,
                kills=options.kills,
                rate=options.rate,
                seed=options.seed,
            )
        finally:
            stack.stop()
    print(json.dumps(msgspec.to_builtins(outcome)))  # noqa: T201  a command prints its result
    return 1 if outcome.lost else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
