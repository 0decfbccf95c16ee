"""The writer of a changelog, in front of aiokafka's own queue of batches."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import MessageAccumulator

from delivery import changelog
from delivery.changelog import ChangelogWriter
from delivery.table import HeldState
from runtime.settings import KafkaSettings

STEPS = 10
"""Steps of the loop within which all go on that can."""


class Queue:
    """aiokafka's producer with no broker behind it: what is sent waits until the test takes it out."""

    def __init__(self, **_: Any) -> None:
        leaders = SimpleNamespace(leader_for_partition=lambda _: 0)
        self._queue = MessageAccumulator(leaders, 1 << 19, 0, 60)
        self._end = 0

    async def start(self) -> None:
        """Nothing to connect to."""

    def create_batch(self) -> Any:
        """A batch to fill."""
        return self._queue.create_builder()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        """As the producer does it."""
        return await self._queue.add_batch(batch, TopicPartition(topic, partition), 60)

    def take(self) -> None:
        """A request goes out with the first batch, and the broker appends it to its log."""
        taken, _ = self._queue.drain_by_nodes(ignore_nodes=())
        for batch in taken[0].values():
            batch.done(self._end)
            self._end += 1


async def pause(steps: int) -> None:
    """Let the others go on by so many steps."""
    for _ in range(steps):
        await asyncio.sleep(0)


@pytest.mark.parametrize("late", range(4))
async def test_a_batch_does_not_overtake_one_that_waits_for_room(
    monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    queue = Queue()
    monkeypatch.setattr(changelog, "AIOKafkaProducer", lambda **_: queue)
    writer = ChangelogWriter(KafkaSettings(), "states", None)
    await writer.start()

    def send(value: bytes) -> asyncio.Task[Any]:
        (batch,) = writer.batches([HeldState(b"key", value, [])])
        return asyncio.create_task(writer.send(batch, 0))

    sends = [send(b"1"), send(b"2")]
    await pause(STEPS)
    queue.take()
    # There is room now, and the second needs some steps to see it.
    await pause(late)
    sends.append(send(b"3"))
    for _ in sends[1:]:
        await pause(STEPS)
        queue.take()
    assert [(await (await sent)).offset for sent in sends] == [0, 1, 2]
