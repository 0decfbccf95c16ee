"""The relay's process, killed again and again: every record at least once, the order of a key kept."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from store.postgres import outbox
from tests.jobs.relay.conftest import Relaying
from tests.jobs.relay.outbox_records import new_key, record, rows
from tests.support.processes import INTERNAL, AgentProcess
from tests.support.servers import Urls
from tests.support.topics import TopicReader
from tests.support.waiting import until

KEYS = 12
KILLS = 6
BETWEEN_KILLS = 600
"""Records relayed before the next kill."""


class Writer:
    """Writes numbered records of some keys, several in a transaction, and notes what it committed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.written: dict[str, int] = {new_key(): 0 for _ in range(KEYS)}

    async def write_on(self) -> None:
        """Write until cancelled; what is noted is committed."""
        dice = random.Random(5)
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            while True:
                keys = dice.choices(list(self.written), k=dice.randint(1, 20))
                numbers = dict(self.written)
                records = []
                for key in keys:
                    numbers[key] += 1
                    records.append(record(key, b"%d" % numbers[key]))
                await asyncio.shield(self._commit(connection, records, numbers))
                await asyncio.sleep(0)

    async def _commit(
        self,
        connection: psycopg.AsyncConnection,
        records: list[outbox.OutboxRecord],
        numbers: dict[str, int],
    ) -> None:
        await outbox.write(connection, records)
        await connection.commit()
        self.written = numbers


@pytest.fixture
def new_process(urls: Urls, tmp_path: Path) -> Iterator[Callable[[], AgentProcess]]:
    """Makes processes; whatever still runs at the end is killed."""
    with ExitStack() as cleanup:

        def make() -> AgentProcess:
            process = AgentProcess(("jobs",), {**urls.environment(), **INTERNAL}, tmp_path)
            cleanup.callback(process.kill)
            return process

        yield make


@pytest.mark.drill
async def test_across_kills_no_record_is_lost_and_every_key_keeps_its_order(
    database: str, reader: TopicReader, new_process: Callable[[], AgentProcess]
) -> None:
    writer = Writer(database)
    writing = asyncio.create_task(writer.write_on())
    killed_with_rows_waiting = 0
    try:
        for kill in range(1, KILLS + 1):
            jobs_process = new_process()
            jobs_process.launch()
            await reader.until(lambda kill=kill: _seen(reader, writer) >= kill * BETWEEN_KILLS, "records")  # type: ignore[misc]
            await asyncio.to_thread(jobs_process.kill)
            killed_with_rows_waiting += await rows(database) > 0
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    jobs_process = new_process()
    jobs_process.launch()
    await until(lambda: _is_empty(database), "an empty outbox")
    await reader.until(lambda: _has_all(reader, writer), "every record")
    assert await jobs_process.stop() == 0
    assert killed_with_rows_waiting, "no kill met the relay at work"
    for key, last in writer.written.items():
        numbers = [int(value or b"") for value in reader.values(key)]
        assert list(dict.fromkeys(numbers)) == list(range(1, last + 1)), "first sent in order"
        assert list(dict.fromkeys(reversed(numbers))) == list(range(last, 0, -1)), "and last sent in order"


async def test_two_processes_send_nothing_twice_and_the_second_takes_over_from_a_killed_one(
    database: str, reader: TopicReader, relaying: Relaying, new_process: Callable[[], AgentProcess]
) -> None:
    first, second = new_key(), new_key()
    jobs_process = new_process()
    jobs_process.launch()
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await outbox.write(connection, [record(first)])
        await connection.commit()
        await reader.until_seen(first)
        async with relaying():
            await asyncio.to_thread(jobs_process.kill)
            await outbox.write(connection, [record(second)])
            await connection.commit()
            await reader.until_seen(second)
    assert len(reader.records(second)) == 1


def _seen(reader: TopicReader, writer: Writer) -> int:
    return sum(len(reader.records(key)) for key in writer.written)


def _has_all(reader: TopicReader, writer: Writer) -> bool:
    return all(b"%d" % last in reader.values(key) for key, last in writer.written.items() if last)


async def _is_empty(url: str) -> bool:
    return await rows(url) == 0
