"""What has been processed of every assigned partition, and up to which offset it may be committed.

Kept here and not taken from Faust, whose list of acknowledged messages commits over holes and knows
nothing of the changelog records that a message has caused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faust.types import TP, Message

from delivery import metrics
from delivery.contiguity import Admission, Contiguity
from runtime.failstop import fail_stop


class Send(NamedTuple):
    """A changelog record in flight, and the source offset that caused it."""

    offset: int
    future: asyncio.Future[Any]


@dataclass
class Partition:
    """One assigned source partition."""

    generation: int
    contiguity: Contiguity
    done: int
    """Everything below this offset is processed."""
    committed: int
    handed_out: int = 0
    """Records that an agent has and has not finished."""
    sends: deque[Send] = field(default_factory=deque)
    moved_at: float = field(default_factory=time.monotonic)
    """When an offset was committed last, or there was nothing to commit."""

    def committable(self) -> int:
        """The offset that may be committed: processed, and every changelog record before it acknowledged."""
        while self.sends and acknowledged(self.sends[0].future):
            self.sends.popleft()
        return min(self.done, self.sends[0].offset) if self.sends else self.done


class Ledger:
    """The partitions of one app. Runs in the app's event loop only."""

    def __init__(self) -> None:
        self.partitions: dict[TP, Partition] = {}
        self._closing: set[TP] = set()
        self._progress = asyncio.Event()

    def is_anchored(self, tp: TP, generation: int) -> bool:
        """Whether the partition is accounted for in this assignment."""
        partition = self.partitions.get(tp)
        return partition is not None and partition.generation == generation

    def anchor(self, tp: TP, generation: int, offset: int) -> int:
        """Start accounting at `offset`, unless this assignment has; returns the offset to fetch from."""
        if not self.is_anchored(tp, generation):
            partition = Partition(generation, Contiguity(offset), done=offset, committed=offset)
            self.partitions[tp] = partition
            self._closing.discard(tp)
        partition = self.partitions[tp]
        partition.contiguity.sought()
        return partition.contiguity.expected

    def judge(self, message: Message) -> Admission:
        """Decide about a record; one of an assignment that is gone or closing is skipped."""
        partition, tp, offset = self._held(message), message.tp, message.offset
        if partition is None or tp in self._closing:
            return Admission.SKIP
        admission = partition.contiguity.judge(offset)
        if admission is Admission.PROCESS:
            partition.handed_out += 1
        elif admission is Admission.SEEK:
            metrics.GAPS.labels(tp.topic, tp.partition).inc()
        elif offset < partition.contiguity.expected:
            metrics.REDELIVERIES.labels(tp.topic, tp.partition).inc()
        return admission

    def holds(self, message: Message) -> bool:
        """Whether the record may still have effects: its partition is assigned as it was when it came."""
        return self._held(message) is not None

    def finish(self, message: Message) -> None:
        """The record, and with it all before, is processed."""
        if partition := self._held(message):
            partition.handed_out -= 1
            partition.done = max(partition.done, message.offset + 1)
            if not partition.handed_out:
                self._progress.set()

    def abandon(self, message: Message) -> None:
        """The agent that had the record has failed: deliver the record and all after it again."""
        if partition := self._held(message):
            partition.handed_out = 0
            partition.contiguity.rewind(partition.done)
            self._progress.set()

    def beat(self, tps: Iterable[TP]) -> None:
        """Note that the sink is retrying: a failing sink is not a stalled consumer."""
        for tp in tps:
            if partition := self.partitions.get(tp):
                partition.moved_at = time.monotonic()

    def track(self, message: Message, future: asyncio.Future[Any]) -> None:
        """Commit only up to the record until `future`, a changelog send it caused, is acknowledged."""
        if partition := self._held(message):
            partition.sends.append(Send(message.offset, future))
        future.add_done_callback(stop_if_refused)

    def committable(self) -> dict[TP, int]:
        """New offsets to commit, by partition."""
        offsets = {tp: partition.committable() for tp, partition in self.partitions.items()}
        return {tp: offset for tp, offset in offsets.items() if offset > self.partitions[tp].committed}

    def committed(self, offsets: dict[TP, int]) -> None:
        """The broker has stored these offsets."""
        for tp, offset in offsets.items():
            if partition := self.partitions.get(tp):
                partition.committed = max(partition.committed, offset)
                partition.moved_at = time.monotonic()

    def _held(self, message: Message) -> Partition | None:
        partition = self.partitions.get(message.tp)
        return partition if partition is not None and partition.generation == message.generation_id else None

    async def settle(self, tps: Iterable[TP]) -> None:
        """Hand out nothing more of `tps`, wait until what was handed out is processed and acknowledged."""
        self._closing.update(tps)
        while any(self.partitions[tp].handed_out for tp in self._closing if tp in self.partitions):
            self._progress.clear()
            await self._progress.wait()
        if sends := self.unacknowledged(self._closing):
            await asyncio.wait(sends)

    def unacknowledged(self, tps: Iterable[TP]) -> list[asyncio.Future[Any]]:
        """Changelog sends of these partitions that are in flight, or have failed."""
        held = [self.partitions[tp] for tp in tps if tp in self.partitions]
        return [
            send.future for partition in held for send in partition.sends if not acknowledged(send.future)
        ]

    def drop(self, tps: Iterable[TP]) -> None:
        """Forget the partitions: another worker owns them now."""
        for tp in tps:
            self.partitions.pop(tp, None)
            self._closing.discard(tp)


def acknowledged(future: asyncio.Future[Any]) -> bool:
    """Whether the broker has taken the record. A send that has failed is done, and has not been taken."""
    return future.done() and not future.cancelled() and future.exception() is None


def stop_if_refused(future: asyncio.Future[Any]) -> None:
    """End the process if a changelog send failed: the state in memory is ahead of the log for good."""
    if future.cancelled():
        fail_stop("changelog.send_cancelled")
    if error := future.exception():
        fail_stop("changelog.send_failed", error=repr(error))
