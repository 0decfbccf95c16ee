"""The duty that carries records from the Postgres outbox to Kafka: in order, at least once.

A row leaves the outbox only after Kafka has acknowledged its record and every earlier one of its key:
whatever dies in between, the last record of a key in the topic is the newest one. While Kafka is away the
rows wait.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any, Final

import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from delivery import to_its_end
from store import outbox
from store.outbox import OutboxRecord, OutboxRow
from streams.upkeep import metrics
from streams.upkeep.settings import UpkeepSettings
from topics.clients import has_died
from topics.headers import Headers, dead_letter_headers
from topics.partitioner import partition_of
from topics.registry import DEAD_LETTERS

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 1000
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of values in one round; a single larger one goes alone."""
BATCH_BYTES: Final = 256 * 1024
REQUEST_BYTES: Final = DEAD_LETTERS.max_message_bytes + 64 * 1024
REQUEST_TIMEOUT_MS: Final = 10_000
ACKNOWLEDGED_WITHIN_S: Final = 25.0
STOP_S: Final = 5.0
"""How long a round in flight may take to end when the process stops."""


class Outcome(Enum):
    """What became of a row's record."""

    ACKNOWLEDGED = auto()
    LATE = auto()
    """Acknowledged, but maybe after later records of its key: these have to be sent again."""
    DEAD_LETTER = auto()
    FAILED = auto()


class ProducerDied(Exception):
    """The Kafka client has ended without a word: the duty starts with a new one."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Acknowledged:
    """Kafka has a record."""


def removable(rows: Sequence[OutboxRow], outcomes: Mapping[int, Outcome]) -> list[int]:
    """The numbers of the rows that may go: all of a key up to the first one whose place is not certain.

    `rows` are in their order, `outcomes` by row number; a row without one has failed.
    """
    stopped: set[tuple[str, str]] = set()
    gone = []
    for row in rows:
        key = row.record.topic, row.record.key
        outcome = outcomes.get(row.outbox_id, Outcome.FAILED)
        if key in stopped or outcome is Outcome.FAILED:
            stopped.add(key)
            continue
        gone.append(row.outbox_id)
        if outcome is Outcome.LATE:
            stopped.add(key)
    return gone


class Relay:
    """Carries the outbox to Kafka; woken by the commit that wrote a row, and by a look once in a while."""

    name = "relay"

    def __init__(self, settings: UpkeepSettings) -> None:
        self._settings = settings

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Carry until cancelled. Raises psycopg.Error, KafkaError, TimeoutError, ProducerDied."""
        # Measured before Kafka is asked for anything: while it is away the numbers matter most.
        await _measure(connection)
        await connection.execute(f"LISTEN {outbox.CHANNEL}")
        async with _producer(self._settings) as producer:
            while True:
                rows = await outbox.waiting(connection, max_records=MAX_RECORDS, max_bytes=MAX_BYTES)
                if rows:
                    await to_its_end(self._carry(connection, producer, rows), STOP_S)
                    continue
                await _measure(connection)
                metrics.succeeded(self.name)
                await self._idle(connection)
                if has_died(producer.client):
                    raise ProducerDied

    async def _idle(self, connection: psycopg.AsyncConnection[Any]) -> None:
        woken_by = "sweep"
        async for _ in connection.notifies(timeout=self._settings.relay_sweep_s, stop_after=1):
            woken_by = "notification"
        metrics.RELAY_WAKEUPS.labels(woken_by).inc()

    async def _carry(
        self, connection: psycopg.AsyncConnection[Any], producer: AIOKafkaProducer, rows: Sequence[OutboxRow]
    ) -> None:
        outcomes, failure = await self._send(producer, rows)
        if gone := removable(rows, outcomes):
            await outbox.remove(connection, gone)
        for row in rows:
            if outcomes.get(row.outbox_id, Outcome.FAILED) is not Outcome.FAILED:
                metrics.RELAYED.labels(row.record.topic).inc()
        if failure is not None:
            # A new producer: what this one still holds must not land behind what is sent next.
            raise failure

    async def _send(
        self, producer: AIOKafkaProducer, rows: Sequence[OutboxRow]
    ) -> tuple[dict[int, Outcome], BaseException | None]:
        """Send all rows in order; what became of them, and the first failure that may pass."""
        sent: dict[int, asyncio.Future[Any]] = {}
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                for row in rows:
                    sent[row.outbox_id] = await self._enqueue(producer, row.record)
                await asyncio.wait(sent.values())
        except (KafkaError, TimeoutError) as problem:
            failure = problem
        outcomes: dict[int, Outcome] = {}
        too_large: list[OutboxRow] = []
        for row in rows:
            match _answer(sent.get(row.outbox_id)):
                case Acknowledged():
                    outcomes[row.outbox_id] = Outcome.ACKNOWLEDGED
                case MessageSizeTooLargeError():
                    too_large.append(row)
                case BaseException() as error:
                    failure = failure or error
        if failure is None:
            for row in too_large:
                outcomes[row.outbox_id] = await self._send_alone(producer, row)
        return outcomes, failure

    async def _send_alone(self, producer: AIOKafkaProducer, row: OutboxRow) -> Outcome:
        """A record that was refused with its batch, once more alone; a dead letter if it is to blame."""
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            try:
                await (await self._enqueue(producer, row.record))
            except MessageSizeTooLargeError as error:
                await self._to_dead_letters(producer, row, error)
                return Outcome.DEAD_LETTER
        return Outcome.LATE

    async def _to_dead_letters(
        self, producer: AIOKafkaProducer, row: OutboxRow, error: MessageSizeTooLargeError
    ) -> None:
        record = row.record
        letter = OutboxRecord(
            DEAD_LETTERS.name,
            record.key,
            record.value,
            [*record.headers, *_reason(row, self._home(record), error)],
        )
        await (await self._enqueue(producer, letter))
        metrics.RELAY_REFUSED.labels(record.topic).inc()
        log.error("relay.refused", topic=record.topic, key=record.key, bytes=len(record.value or b""))

    def _home(self, record: OutboxRecord) -> int:
        return partition_of(record.key.encode(), self._settings.partitions)

    async def _enqueue(self, producer: AIOKafkaProducer, record: OutboxRecord) -> "asyncio.Future[Any]":
        """The acknowledgement to come; also of a record that the client itself finds too large."""
        try:
            future: asyncio.Future[Any] = await producer.send(
                record.topic, record.value, record.key.encode(), self._home(record), headers=record.headers
            )
        except MessageSizeTooLargeError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        return future


def _answer(sent: "asyncio.Future[Any] | None") -> Acknowledged | BaseException | None:
    """What Kafka has said of a record; None if nothing yet."""
    if sent is None or not sent.done() or sent.cancelled():
        return None
    return sent.exception() or Acknowledged()


@asynccontextmanager
async def _producer(settings: UpkeepSettings) -> AsyncIterator[AIOKafkaProducer]:
    # Not the idempotent one: it hangs in outages. With one request in flight a partition keeps its order.
    producer = AIOKafkaProducer(
        **settings.client_options(),
        acks="all",
        max_batch_size=BATCH_BYTES,
        # The broker's limit for each topic decides, not the client's.
        max_request_size=REQUEST_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    try:
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            await producer.start()
        yield producer
    finally:
        try:
            async with asyncio.timeout(STOP_S):
                await producer.stop()
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("relay.producer_stopped_uncleanly", error=repr(error))


async def _measure(connection: psycopg.AsyncConnection[Any]) -> None:
    lag = await outbox.lag(connection)
    metrics.OUTBOX_ROWS.set(lag.rows)
    metrics.OUTBOX_OLDEST.set(lag.oldest_s)


def _reason(row: OutboxRow, partition: int, error: MessageSizeTooLargeError) -> Headers:
    """The headers of the dead letter; the offset is the outbox's."""
    detail = f"{row.record.topic} does not take {len(row.record.value or b'')} bytes: {error}"
    source = row.record.topic, partition, f"outbox/{row.outbox_id}"
    return dead_letter_headers("too_large", detail, source, "cartstream-relay")
