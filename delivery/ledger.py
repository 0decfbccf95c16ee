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

from faust.types import TP

from delivery import metrics
from delivery.contiguity import Contiguity, Verdict
from delivery.errors import fail_stop


class Send(NamedTuple):
    """A changelog record on its way, and the source offset that caused it."""

    offset: int
    future: asyncio.Future[Any]


@dataclass
class Partition:
    """One assigned source partition. `done`: everything below this offset is processed."""

    generation: int
    contiguity: Contiguity
    done: int
    committed: int
    handed_out: int = 0
    sends: deque[Send] = field(default_factory=deque)
    moved_at: float = field(default_factory=time.monotonic)

    def committable(self) -> int:
        """The offset that may be committed: processed, and every changelog record before it acknowledged."""
        while self.sends and self.sends[0].future.done():
            self.sends.popleft()
        return min(self.done, self.sends[0].offset) if self.sends else self.done


class Ledger:
    """The partitions of one app. Runs in the app's event loop only."""

    def __init__(self) -> None:
        self.partitions: dict[TP, Partition] = {}
        self._closing: set[TP] = set()
        self._progress = asyncio.Event()

    def anchor(self, tp: TP, generation: int, offset: int) -> int:
        """Start accounting at `offset`, unless this assignment already has; returns the offset to fetch from."""
        partition = self.partitions.get(tp)
        if partition is None or partition.generation != generation:
            partition = Partition(generation, Contiguity(offset), done=offset, committed=offset)
            self.partitions[tp] = partition
            self._closing.discard(tp)
        partition.contiguity.sought()
        return partition.contiguity.expected

    def judge(self, tp: TP, generation: int, offset: int) -> Verdict:
        """Decide about a record; one of an assignment that is gone or closing is skipped."""
        partition = self.partitions.get(tp)
        if partition is None or partition.generation != generation or tp in self._closing:
            return Verdict.SKIP
        verdict = partition.contiguity.judge(offset)
        if verdict is Verdict.PROCESS:
            partition.handed_out += 1
        elif verdict is Verdict.SEEK:
            metrics.GAPS.labels(tp.topic, tp.partition).inc()
        elif offset < partition.contiguity.expected:
            metrics.REDELIVERIES.labels(tp.topic, tp.partition).inc()
        return verdict

    def holds(self, tp: TP, generation: int) -> bool:
        """Whether records delivered under this generation may still have effects."""
        partition = self.partitions.get(tp)
        return partition is not None and partition.generation == generation

    def finish(self, tp: TP, generation: int, offset: int) -> None:
        """The record at `offset`, and with it all before, is processed."""
        if self.holds(tp, generation):
            partition = self.partitions[tp]
            partition.handed_out -= 1
            partition.done = max(partition.done, offset + 1)
            partition.moved_at = time.monotonic()
            if not partition.handed_out:
                self._progress.set()

    def abandon(self, tp: TP, generation: int) -> None:
        """Whoever had records of this partition went away: they have to be delivered again."""
        if self.holds(tp, generation):
            partition = self.partitions[tp]
            partition.handed_out = 0
            partition.contiguity.rewind(partition.done)
            self._progress.set()

    def beat(self, tps: Iterable[TP]) -> None:
        """Somebody is alive and trying: a failing sink is not a stalled consumer."""
        for tp in tps:
            if partition := self.partitions.get(tp):
                partition.moved_at = time.monotonic()

    def track(self, tp: TP, offset: int, future: asyncio.Future[Any]) -> None:
        """Hold back commits beyond `offset` until `future`, a changelog send it caused, is acknowledged."""
        if partition := self.partitions.get(tp):
            partition.sends.append(Send(offset, future))
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

    async def settle(self, tps: Iterable[TP]) -> None:
        """Hand out nothing more of `tps`, wait until what was handed out is processed and acknowledged."""
        self._closing.update(tps)
        while any(self.partitions[tp].handed_out for tp in self._closing if tp in self.partitions):
            self._progress.clear()
            await self._progress.wait()
        sends = [s.future for tp in self._closing if tp in self.partitions for s in self.partitions[tp].sends]
        if sends:
            await asyncio.wait(sends)

    def drop(self, tps: Iterable[TP]) -> None:
        """The partitions are somebody else's now."""
        for tp in tps:
            self.partitions.pop(tp, None)
            self._closing.discard(tp)


def stop_if_refused(future: asyncio.Future[Any]) -> None:
    """End the process if a changelog send failed: the state in memory is ahead of the log for good."""
    if future.cancelled():
        fail_stop("changelog.send_cancelled")
    if error := future.exception():
        fail_stop("changelog.send_failed", error=repr(error))
