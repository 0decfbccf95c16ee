"""The relay on real servers: what is committed reaches Kafka, in order, whoever is away in between."""

import asyncio
import time

import psycopg
import pytest
from prometheus_client import REGISTRY

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES
from store.postgres import outbox
from store.postgres.outbox import OutboxRecord, RecordTooLarge
from tests.jobs.relay.conftest import Relaying
from tests.jobs.relay.outbox_records import new_key, record, rows, write
from tests.support.topics import TopicReader
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.registry import DEAD_LETTERS, ORDERS, PARTITIONS

TOO_LARGE = b'{"filler":"' + b"x" * (ORDERS.max_message_bytes + 1) + b'"}'


def metric(name: str, **labels: str) -> float:
    """The value of a metric of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_committed_record_reaches_its_partition_with_its_headers_and_leaves_the_outbox(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    key = new_key()
    async with relaying():
        await write(database, record(key, '{"note":"für Zoë"}'.encode()))
        await reader.until_seen(key)
        await until(lambda: _is_empty(database), "an empty outbox")
    (found,) = reader.records(key)
    assert found.value == '{"note":"für Zoë"}'.encode()
    assert found.partition == partition_of(key.encode(), PARTITIONS)
    assert list(found.headers) == record(key).headers


async def test_a_transaction_that_rolls_back_publishes_nothing(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    lost, kept = new_key(), new_key()
    async with relaying():
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await outbox.write(connection, [record(lost)])
            await connection.rollback()
        await write(database, record(kept))
        await reader.until_seen(kept)
    assert reader.records(lost) == []


async def test_records_of_one_call_keep_their_order_and_tombstones_have_no_value(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    key = new_key()
    values: list[bytes | None] = [b'{"n":%d}' % number for number in range(200)]
    await write(database, *[record(key, value) for value in [*values, None]])
    async with relaying():
        await reader.until(lambda: len(reader.records(key)) == 201, "201 records")
    assert reader.values(key) == [*values, None]


async def test_a_commit_wakes_the_relay_long_before_it_would_look(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    first, second = new_key(), new_key()
    before = metric("cartstream_jobs_relay_wakeups_total", by="notification")
    async with relaying(sweep_s=20.0):
        await write(database, record(first))
        await reader.until_seen(first)
        await write(database, record(second))
        await reader.until_seen(second)
        # It may have been found by the look that the first one began; then its notification comes next.
        name = "cartstream_jobs_relay_wakeups_total"
        await until(lambda: _grew(name, before, by="notification"), "a wake-up")


async def test_a_record_of_which_no_notification_came_is_found_by_the_sweep(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("ALTER TABLE outbox DISABLE TRIGGER outbox_written")
    key = new_key()
    before = metric("cartstream_jobs_relay_wakeups_total", by="sweep")
    async with relaying(sweep_s=0.2):
        await until(lambda: _grew("cartstream_jobs_relay_wakeups_total", before, by="sweep"), "a sweep")
        await write(database, record(key))
        await reader.until_seen(key)


async def test_a_record_too_large_for_its_topic_becomes_a_dead_letter_and_the_others_go_on(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    large, small = new_key("large"), new_key()
    async with await psycopg.AsyncConnection.connect(database) as connection:
        for value in (TOO_LARGE, b"{}"):
            await connection.execute(
                'INSERT INTO outbox (topic, key, value, headers) VALUES (%s, %s, %s, \'[["a", "b"]]\')',
                (ORDERS.name, large, value.decode()),
            )
        await outbox.write(connection, [record(small)])
    async with relaying():
        await reader.until_seen(small, large)
        await reader.until(lambda: bool(reader.records(large, DEAD_LETTERS.name)), "a dead letter")
        await until(lambda: _is_empty(database), "an empty outbox")
    assert reader.values(large) == [b"{}"]
    (letter,) = reader.records(large, DEAD_LETTERS.name)
    headers = dict(letter.headers)
    assert letter.value == TOO_LARGE
    assert headers["a"] == b"b"
    assert headers["dlq_error_code"] == b"too_large"
    assert headers["dlq_source_topic"] == ORDERS.name.encode()
    assert headers["dlq_agent"] == b"cartstream-relay"


async def test_a_record_that_could_never_be_sent_is_refused_to_its_writer(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        with pytest.raises(RecordTooLarge, match=rf"{ORDERS.name} takes"):
            await outbox.write(connection, [record(new_key()), OutboxRecord(ORDERS.name, "k", TOO_LARGE, [])])
    assert await rows(database) == 0


async def test_what_was_read_before_a_long_freeze_gets_in_no_more(
    database: str, reader: TopicReader, relaying: Relaying
) -> None:
    """The successor may have sent what is newer; the row waits for whoever reads it anew."""
    key = new_key()
    failures = metric("cartstream_jobs_failures_total", job="relay")
    await write(database, record(key))
    async with relaying(clock=lambda: time.time() - 40):
        await until(lambda: _grew("cartstream_jobs_failures_total", failures, job="relay"), "a refusal")
    assert await rows(database) == 1
    async with relaying():
        await reader.until_seen(key)
    assert len(reader.records(key)) == 1


@pytest.mark.embedded
@pytest.mark.drill
async def test_while_kafka_is_away_rows_wait_and_are_counted_and_then_go_in_order(
    database: str, reader: TopicReader, relaying: Relaying, stack: EmbeddedStack
) -> None:
    key = new_key()
    values = [b'{"n":%d}' % number for number in range(20)]
    kafka = stack.component(KAFKA)
    async with relaying():
        failures = metric("cartstream_jobs_failures_total", job="relay")
        await asyncio.to_thread(kafka.kill)
        try:
            await write(database, *[record(key, value) for value in values[:10]])
            await until(lambda: _grew("cartstream_jobs_failures_total", failures, job="relay"), "a failure")
            await write(database, *[record(key, value) for value in values[10:]])
            await until(lambda: _is("cartstream_jobs_outbox_rows", 20), "a measured lag")
            assert metric("cartstream_jobs_outbox_oldest_seconds") > 0
        finally:
            await asyncio.to_thread(kafka.start)
        await reader.until(lambda: reader.values(key)[-1:] == [values[-1]], "the last record")
        await until(lambda: _is("cartstream_jobs_outbox_rows", 0), "no lag")
    assert list(dict.fromkeys(reader.values(key))) == values


@pytest.mark.embedded
async def test_when_postgres_comes_back_the_relay_goes_on(
    database: str, reader: TopicReader, relaying: Relaying, stack: EmbeddedStack
) -> None:
    before, after = new_key(), new_key()
    postgres = stack.component(POSTGRES)
    async with relaying():
        await write(database, record(before))
        await reader.until_seen(before)
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
        await write(database, record(after))
        await reader.until_seen(after)


async def _is_empty(url: str) -> bool:
    return await rows(url) == 0


async def _is(name: str, value: float) -> bool:
    return metric(name) == value


async def _grew(name: str, before: float, **labels: str) -> bool:
    return metric(name, **labels) > before
