"""Send changes to Kafka in batches: one request at a time to each broker, what gathers meanwhile in the next.

While several changes come at once, a broker gets a request each 5 ms at most.

Without idempotence: an idempotent producer hangs in outages. Of a partition one batch is under way at a time,
and one that fails is sent again before those behind it. So records keep their order; a second sending only
duplicates, and folding absorbs that.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
)

from gateway.outbox.producer import BATCH_BYTES, REQUEST_TIMEOUT_S
from gateway.outbox.records import ChangeRecord
from runtime.kafka.produce import batch_builder, produce
from topics.registry import CART_CHANGED

REFUSALS: Final = (InvalidTimestampError, MessageSizeTooLargeError)
"""Kafka is well but does not want a record: too old (the sweeper gives it a new time), or too large."""
_RETRY_S: Final = 0.1
_GATHER_S: Final = 0.005
"""Between two requests to a broker while changes come at once; a change that comes alone never waits."""
_NO_LEADER: Final = -1


class Publication:
    """A record on its way, whoever waits for its offset, and until when (loop time)."""

    __slots__ = ("deadline", "future", "record")

    def __init__(self, record: ChangeRecord, future: "asyncio.Future[int | None]", deadline: float) -> None:
        self.record = record
        self.future = future
        self.deadline = deadline

    def resolve(self, offset: int | None) -> None:
        """Tell who waits, if somebody still does."""
        if not self.future.done():
            self.future.set_result(offset)


class Batch:
    """Records of one partition; others join them until they are sent.

    From `give_up_at` on (time.monotonic) they are not sent again. `is_live`: of requests, not of a sweeper.
    """

    __slots__ = ("_builder", "_bytes", "give_up_at", "is_live", "publications")

    def __init__(self, give_up_at: float, *, is_live: bool) -> None:
        self._builder: Any = batch_builder(BATCH_BYTES)
        self._bytes: bytearray | None = None
        self.give_up_at = give_up_at
        self.is_live = is_live
        self.publications: list[Publication] = []

    def append(self, publication: Publication) -> bool:
        """Whether there was room for it."""
        record = publication.record
        if (
            self._bytes is not None
            or self._builder.append(
                len(self.publications), record.timestamp, record.key, record.value, record.headers
            )
            is None
        ):
            return False
        self.publications.append(publication)
        return True

    def close(self) -> bytearray:
        """Its bytes; nothing joins it any more."""
        if self._bytes is None:
            self._bytes = self._builder.build()
        return self._bytes


class Outcomes(Protocol):
    """Who hears what became of each batch."""

    def answered(self, seconds: float) -> None:
        """A broker has taken so long to answer a request, or to fail."""
        ...

    def acknowledged(self, partition: int, batch: Batch, offset: int) -> None:
        """Kafka has it, its first record at this offset."""
        ...

    def refused(self, partition: int, publication: Publication, error: BaseException) -> None:
        """Kafka does not want this record."""
        ...

    def given_up(self, batch: Batch, error: BaseException) -> None:
        """Kafka has not taken it in time; some of it may be there."""
        ...


class BatchSender:
    """Queues of batches, one a partition. Belongs to one event loop."""

    def __init__(
        self, partitions: int, client: Callable[[], AIOKafkaClient | None], outcomes: Outcomes
    ) -> None:
        """`client`: the connections to Kafka that live now."""
        self._client = client
        self._outcomes = outcomes
        self._places = [TopicPartition(CART_CHANGED.name, partition) for partition in range(partitions)]
        self._queues: list[deque[Batch]] = [deque() for _ in range(partitions)]
        self._ready: dict[int, None] = {}  # partitions that have a batch to send
        self._held: set[int] = set()  # partitions with a batch under way, or without a leader
        self._busy: set[int] = set()  # brokers
        self._is_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def flush(self) -> None:
        """Wait until everything is acknowledged or given up, some seconds at most."""
        while self._is_due or self._tasks:
            await asyncio.sleep(0)
            await asyncio.gather(*self._tasks)

    def add(self, partition: int, publication: Publication) -> None:
        """Send it with this tick's others."""
        queue = self._queues[partition]
        if not queue or not queue[-1].append(publication):
            batch = Batch(time.monotonic() + REQUEST_TIMEOUT_S, is_live=True)
            batch.append(publication)
            self._enqueue(partition, batch)

    def add_apart(self, partition: int, publications: Sequence[Publication]) -> None:
        """Send these in a batch of their own, which they must fit into: none joins it."""
        self._enqueue(partition, _closed(publications, time.monotonic() + REQUEST_TIMEOUT_S, is_live=False))

    def _enqueue(self, partition: int, batch: Batch) -> None:
        self._queues[partition].append(batch)
        if partition not in self._held:
            self._ready[partition] = None
            self._send_soon()

    def _send_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._send_ready)

    def _send_ready(self) -> None:
        """Ask every broker that is not busy to append the next batch of each partition that it leads."""
        self._is_due = False
        client = self._client()
        if client is None:
            self._give_up_all(KafkaError("not connected"))
            return
        requests: dict[int, dict[int, Batch]] = {}
        unled = []
        for partition in self._ready:
            broker = client.cluster.leader_for_partition(self._places[partition])
            if broker is None or broker == _NO_LEADER:
                unled.append(partition)
            elif broker not in self._busy:
                requests.setdefault(broker, {})[partition] = self._queues[partition].popleft()
        for broker, batches in requests.items():
            self._busy.add(broker)
            self._hold(batches)
            self._spawn(self._send(client, broker, batches))
        if unled:
            self._hold(unled)
            self._spawn(self._wait_for_leaders(client, unled))

    async def _send(self, client: AIOKafkaClient, broker: int, batches: dict[int, Batch]) -> None:
        sent_at = time.monotonic()
        answers = await self._answers(client, broker, batches)
        self._outcomes.answered(time.monotonic() - sent_at)
        again = [self._settle(*answer) for answer in answers]
        if any(again):
            client.force_metadata_update()
            await asyncio.sleep(_RETRY_S)
        elif sum(len(batch.publications) for batch in batches.values()) > 1:
            # A request costs Kafka and us more than the records in it.
            await asyncio.sleep(sent_at + _GATHER_S - time.monotonic())
        self._busy.discard(broker)
        self._release(batches)

    async def _answers(
        self, client: AIOKafkaClient, broker: int, batches: dict[int, Batch]
    ) -> list[tuple[int, Batch, int | BaseException]]:
        values = {partition: batch.close() for partition, batch in batches.items()}
        try:
            answers = await produce(client, broker, CART_CHANGED.name, values, REQUEST_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  whatever it was: who waits must hear of it
            return [(partition, batch, error) for partition, batch in batches.items()]
        unanswered = KafkaError("the broker has left this partition out of its answer")
        return [
            (partition, batch, answers.get(partition, unanswered)) for partition, batch in batches.items()
        ]

    def _settle(self, partition: int, batch: Batch, answer: int | BaseException) -> bool:
        """Say what became of the batch; whether it is to be sent again."""
        if isinstance(answer, int):
            self._outcomes.acknowledged(partition, batch, answer)
        elif isinstance(answer, REFUSALS):
            if len(batch.publications) == 1:
                self._outcomes.refused(partition, batch.publications[0], answer)
            else:
                # One of them spoils it for the others.
                self._queues[partition].extendleft(
                    _closed([publication], batch.give_up_at, is_live=batch.is_live)
                    for publication in reversed(batch.publications)
                )
        elif getattr(answer, "retriable", False) and time.monotonic() < batch.give_up_at:
            self._queues[partition].appendleft(batch)
            return True
        else:
            self._outcomes.given_up(batch, answer)
        return False

    async def _wait_for_leaders(self, client: AIOKafkaClient, partitions: list[int]) -> None:
        now = time.monotonic()
        for partition in partitions:
            queue = self._queues[partition]
            while queue and queue[0].give_up_at <= now:
                self._outcomes.given_up(queue.popleft(), LeaderNotAvailableError())
        client.force_metadata_update()
        await asyncio.sleep(_RETRY_S)
        self._release(partitions)

    def _give_up_all(self, error: KafkaError) -> None:
        for partition in self._ready:
            queue = self._queues[partition]
            while queue:
                self._outcomes.given_up(queue.popleft(), error)
        self._ready.clear()

    def _hold(self, partitions: Iterable[int]) -> None:
        """Send nothing more to these partitions until they are released."""
        for partition in partitions:
            del self._ready[partition]
            self._held.add(partition)

    def _release(self, partitions: Iterable[int]) -> None:
        self._held.difference_update(partitions)
        self._ready.update(dict.fromkeys(partition for partition in partitions if self._queues[partition]))
        if self._ready:
            self._send_soon()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _closed(publications: Sequence[Publication], give_up_at: float, *, is_live: bool) -> Batch:
    batch = Batch(give_up_at, is_live=is_live)
    for publication in publications:
        if not batch.append(publication):
            raise ValueError(f"{len(publications)} records do not fit into a batch of {BATCH_BYTES} bytes")
    batch.close()
    return batch
