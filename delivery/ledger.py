"""What is done of every assigned partition, and up to which offset that may be committed.

A checkpoint of a partition in its steps, which are the methods below in their order:

1. `start`     a run is handed to the agent, if it is the next one;
2. `emitted`   the agent has sent changelog records because of it: batches, each with a future;
3. `finish`    the agent is done with the run (or it `abandon`s it: the run comes again, perhaps elsewhere);
4. acknowledged: the broker has taken the batches. A send that failed or was cancelled never is;
5. `committable` the end of the last run that is finished, with all before it, and acknowledged;
6. `committed` the broker has stored that offset.

Kept here and not taken from Faust, whose list of acknowledged messages commits over holes and knows
nothing of the changelog records that a message has caused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faust.types import TP

from delivery import metrics
from delivery.contiguity import Admission, Contiguity
from delivery.runs import Run
from runtime.failstop import fail_stop


class Send(NamedTuple):
    """A changelog batch in flight, and the first offset of the run that caused it."""

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
    """Runs that an agent has and has not finished."""
    sends: deque[Send] = field(default_factory=deque)
    moved_at: float = field(default_factory=time.monotonic)
    """When an offset was committed last, or there was nothing to commit."""

    def committable(self) -> int:
        """The offset that may be committed: processed, and every changelog batch before it acknowledged."""
        while self.sends and acknowledged(self.sends[0].future):
            self.sends.popleft()
        return min(self.done, self.sends[0].offset) if self.sends else self.done


class Ledger:
    """The partitions of one app. Runs in the app's event loop only."""

    def __init__(self) -> None:
        self.partitions: dict[TP, Partition] = {}
        self._closing: set[TP] = set()
        self._closes = asyncio.Event()
        self._progress = asyncio.Event()

    # -- an assignment begins --------------------------------------------------------------------------

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

    # -- the steps of a checkpoint ---------------------------------------------------------------------

    def start(self, run: Run) -> Admission:
        """Step 1. Whether the run is to be processed now; if so it is cut to what has not been seen yet.

        One of an assignment that is gone or closing is skipped.
        """
        partition, tp = self._held(run), run.tp
        if partition is None or tp in self._closing:
            return Admission.SKIP
        offsets = [record.offset for record in run.records]
        admission, start, stop = partition.contiguity.judge_run(offsets)
        seen = start
        if admission is Admission.PROCESS:
            run.cut(start, stop)
            partition.handed_out += 1
        elif admission is Admission.SEEK:
            metrics.GAPS.labels(tp.topic, tp.partition).inc()
        elif run.end <= partition.contiguity.expected:
            seen = len(offsets)
        if seen:
            metrics.REDELIVERIES.labels(tp.topic, tp.partition).inc(seen)
        return admission

    def holds(self, run: Run) -> bool:
        """Whether the run may still have effects: its partition is assigned as it was when it came."""
        return self._held(run) is not None

    def emitted(self, run: Run, future: asyncio.Future[Any]) -> None:
        """Step 2. Commit nothing of the run until `future`, a changelog batch it caused, is acknowledged."""
        if partition := self._held(run):
            partition.sends.append(Send(run.offset, future))
        future.add_done_callback(stop_if_refused)

    def finish(self, run: Run) -> None:
        """Step 3. The run, and with it all before, is processed."""
        if partition := self._held(run):
            partition.handed_out -= 1
            partition.done = max(partition.done, run.end)
            if not partition.handed_out:
                self._progress.set()

    def abandon(self, run: Run) -> None:
        """Step 3 failed, or was cut off: the run and all after it are delivered again."""
        if partition := self._held(run):
            partition.handed_out = 0
            partition.contiguity.rewind(partition.done)
            self._progress.set()

    def committable(self) -> dict[TP, int]:
        """Steps 4 and 5. New offsets to commit, by partition."""
        offsets = {tp: partition.committable() for tp, partition in self.partitions.items()}
        return {tp: offset for tp, offset in offsets.items() if offset > self.partitions[tp].committed}

    def committed(self, offsets: dict[TP, int]) -> None:
        """Step 6. The broker has stored these offsets."""
        for tp, offset in offsets.items():
            if partition := self.partitions.get(tp):
                partition.committed = max(partition.committed, offset)
                partition.moved_at = time.monotonic()

    # -- beside the steps ------------------------------------------------------------------------------

    def beat(self, tps: Iterable[TP]) -> None:
        """Note that the sink is retrying: a failing sink is not a stalled consumer."""
        for tp in tps:
            if partition := self.partitions.get(tp):
                partition.moved_at = time.monotonic()

    def _held(self, run: Run) -> Partition | None:
        partition = self.partitions.get(run.tp)
        return partition if partition is not None and partition.generation == run.generation_id else None

    # -- an assignment ends ----------------------------------------------------------------------------

    async def settle(self, tps: Iterable[TP]) -> None:
        """Hand out nothing more of `tps`, wait until what was handed out is processed and acknowledged."""
        self._closing.update(tps)
        self._closes.set()
        while any(self.partitions[tp].handed_out for tp in self._closing if tp in self.partitions):
            self._progress.clear()
            await self._progress.wait()
        if sends := self.unacknowledged(self._closing):
            await asyncio.wait(sends)

    async def until_closing(self, runs: Collection[Run]) -> None:
        """Wait until a partition of the runs, which are being processed, is to be given up."""
        while not any(run.tp in self._closing or not self.holds(run) for run in runs):
            self._closes.clear()
            await self._closes.wait()

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
        self._closes.set()


def acknowledged(future: asyncio.Future[Any]) -> bool:
    """Whether the broker has taken the batch. A send that has failed is done, and has not been taken."""
    return future.done() and not future.cancelled() and future.exception() is None


def stop_if_refused(future: asyncio.Future[Any]) -> None:
    """End the process if a changelog send failed: the state in memory is ahead of the log for good."""
    if future.cancelled():
        fail_stop("changelog.send_cancelled")
    if error := future.exception():
        fail_stop("changelog.send_failed", error=repr(error))
