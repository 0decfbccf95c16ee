"""The job that publishes the Postgres outbox to Kafka: in order, at least once.

A row leaves the outbox only after Kafka has acknowledged its record and every earlier one of its key:
whatever dies in between, the last record of a key in the topic is the newest one. While Kafka is away the
rows wait.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any, Final

import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from jobs import metrics
from jobs.settings import JobsSettings
from runtime.cancellation import to_its_end
from runtime.kafka.clients import has_died
from runtime.kafka.producers import stop_within
from store.postgres import outbox
from store.postgres.outbox import OutboxRecord, OutboxRow
from topics.dead_letters import DeadLetterRecord, DeadLetters, SourceRecord
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, DEAD_LETTERS, now_called

log = structlog.get_logger(__name__)

AGENT: Final = "cartstream-relay"
"""The agent in the headers of its dead letters."""
MAX_RECORDS: Final = 1000
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of the values in one round; a larger value gets a round of its own."""
BATCH_BYTES: Final = 256 * 1024
REQUEST_BYTES: Final = DEAD_LETTERS.max_message_bytes + 64 * 1024
REQUEST_TIMEOUT_MS: Final = 10_000
ACKNOWLEDGED_WITHIN_S: Final = 25.0
MEASURE_S: Final = 5.0
STOP_S: Final = 5.0
"""Time for a round in flight to end when the process stops."""


class RelayOutcome(Enum):
    """What became of a row's record."""

    ACKNOWLEDGED = auto()
    LATE = auto()
    """Acknowledged, but maybe after later records of its key: those must be sent again."""
    DEAD_LETTER = auto()
    FAILED = auto()


class ProducerDied(Exception):
    """The Kafka client has ended silently: the job is restarted with a new one."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Acknowledged:
    """Kafka has a record."""


def removable(rows: Sequence[OutboxRow], outcomes: Mapping[int, RelayOutcome]) -> list[int]:
    """The ids of the rows to remove: of each key all up to the first one whose order in Kafka is uncertain.

    `rows` are in their order, `outcomes` by row number; a row without one has failed.
    """
    stopped: set[tuple[str, str]] = set()
    gone = []
    for row in rows:
        key = row.record.topic, row.record.key
        outcome = outcomes.get(row.outbox_id, RelayOutcome.FAILED)
        if key in stopped or outcome is RelayOutcome.FAILED:
            stopped.add(key)
            continue
        gone.append(row.outbox_id)
        if outcome is RelayOutcome.LATE:
            stopped.add(key)
    return gone


def is_no_larger_than_others(record: OutboxRecord) -> bool:
    """Whether the topic of changes takes larger ones, when it takes any: closed it refuses all."""
    is_change = now_called(record.topic) == CART_CHANGED.name
    return is_change and len(record.value or b"") < CART_CHANGED.max_message_bytes // 2


class OutboxRelay:
    """Publishes the outbox; woken by the commit that wrote a row, and by a periodic sweep."""

    name = "relay"

    def __init__(self, settings: JobsSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._measured_at = -math.inf

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Publish until cancelled. Raises psycopg.Error, KafkaError, TimeoutError, ProducerDied."""
        # Before anything is asked of Kafka: the numbers matter most while it is away.
        await self._measure(connection)
        await connection.execute(f"LISTEN {outbox.CHANNEL}")
        async with _producer(self._settings) as producer:
            while True:
                # The records get the time of this reading, and the topics refuse old records: a process that
                # freezes after this line and loses its lock cannot publish anything outdated.
                sender = _Sender(producer, self._settings.partitions_of, self._clock())
                rows = await outbox.waiting(connection, max_records=MAX_RECORDS, max_bytes=MAX_BYTES)
                if rows:
                    await to_its_end(_carry(connection, sender, rows), STOP_S)
                    if time.monotonic() > self._measured_at + MEASURE_S:
                        await self._measure(connection)
                    continue
                await self._measure(connection)
                metrics.succeeded(self.name)
                await self._idle(connection)
                if has_died(producer.client):
                    raise ProducerDied

    async def _idle(self, connection: psycopg.AsyncConnection[Any]) -> None:
        woken_by = "sweep"
        async for _ in connection.notifies(timeout=self._settings.relay_sweep_s, stop_after=1):
            woken_by = "notification"
        metrics.RELAY_WAKEUPS.labels(woken_by).inc()

    async def _measure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        lag = await outbox.lag(connection)
        self._measured_at = time.monotonic()
        metrics.OUTBOX_ROWS.set(lag.rows)
        metrics.OUTBOX_OLDEST.set(lag.oldest_s)


class _Sender:
    """Sends the records of one reading of the outbox, with the time of that reading."""

    def __init__(
        self, producer: AIOKafkaProducer, partitions_of: Callable[[str], int], read_at: float
    ) -> None:
        self._producer = producer
        self._partitions_of = partitions_of
        self._timestamp_ms = int(read_at * 1000)

    def home(self, record: OutboxRecord) -> int:
        """The partition of the record's key."""
        return partition_of(record.key.encode(), self._partitions_of(now_called(record.topic)))

    async def enqueue(self, record: OutboxRecord) -> "asyncio.Future[Any]":
        """A future of the acknowledgement; it fails too if the client finds the record too large."""
        try:
            future: asyncio.Future[Any] = await self._producer.send(
                # Carts may have moved to other topics since the row was written.
                now_called(record.topic),
                record.value,
                record.key.encode(),
                self.home(record),
                timestamp_ms=self._timestamp_ms,
                headers=record.headers,
            )
        except MessageSizeTooLargeError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        return future


async def _carry(
    connection: psycopg.AsyncConnection[Any], sender: _Sender, rows: Sequence[OutboxRow]
) -> None:
    outcomes, failure = await _send(sender, rows)
    if gone := removable(rows, outcomes):
        await outbox.remove(connection, gone)
    for row in rows:
        if outcomes.get(row.outbox_id, RelayOutcome.FAILED) is not RelayOutcome.FAILED:
            metrics.RELAYED.labels(row.record.topic).inc()
    if failure is not None:
        # Continue with a new producer: what this one still holds must not arrive after what is sent next.
        raise failure


async def _send(
    sender: _Sender, rows: Sequence[OutboxRow]
) -> tuple[dict[int, RelayOutcome], BaseException | None]:
    """Send all rows in order: their outcomes, and the first temporary failure."""
    sent: dict[int, asyncio.Future[Any]] = {}
    failure: BaseException | None = None
    try:
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            for row in rows:
                sent[row.outbox_id] = await sender.enqueue(row.record)
            await asyncio.wait(sent.values())
    except (KafkaError, TimeoutError) as problem:
        failure = problem
    outcomes: dict[int, RelayOutcome] = {}
    too_large: list[OutboxRow] = []
    for row in rows:
        match _answer(sent.get(row.outbox_id)):
            case Acknowledged():
                outcomes[row.outbox_id] = RelayOutcome.ACKNOWLEDGED
            case MessageSizeTooLargeError() as error if is_no_larger_than_others(row.record):
                # A closed topic takes none: its carts move to another one, and this process is followed.
                failure = failure or error
            case MessageSizeTooLargeError():
                too_large.append(row)
            case BaseException() as error:
                failure = failure or error
    if failure is None:
        for row in too_large:
            outcomes[row.outbox_id] = await _send_alone(sender, row)
    return outcomes, failure


async def _send_alone(sender: _Sender, row: OutboxRow) -> RelayOutcome:
    """Send a record alone that was refused in a batch; if it is refused again it is a dead letter."""
    async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
        try:
            await (await sender.enqueue(row.record))
        except MessageSizeTooLargeError as error:
            await _to_dead_letters(sender, row, error)
            return RelayOutcome.DEAD_LETTER
    return RelayOutcome.LATE


async def _to_dead_letters(sender: _Sender, row: OutboxRow, error: MessageSizeTooLargeError) -> None:
    record = row.record
    detail = f"{record.topic} does not take {len(record.value or b'')} bytes: {error}"
    source = SourceRecord(
        record.topic,
        sender.home(record),
        f"outbox/{row.outbox_id}",
        record.key.encode(),
        record.value,
        record.headers,
    )

    async def send(letter: DeadLetterRecord) -> None:
        await (
            await sender.enqueue(OutboxRecord(DEAD_LETTERS.name, record.key, letter.value, letter.headers))
        )

    await DeadLetters(AGENT, send).keep(source, "too_large", detail)


def _answer(sent: "asyncio.Future[Any] | None") -> Acknowledged | BaseException | None:
    """Kafka's answer for a record; None if there is none yet."""
    if sent is None or not sent.done() or sent.cancelled():
        return None
    return sent.exception() or Acknowledged()


@asynccontextmanager
async def _producer(settings: JobsSettings) -> AsyncIterator[AIOKafkaProducer]:
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
        await stop_within(producer, STOP_S)
