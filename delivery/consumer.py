"""Faust's Kafka consumer, in runs and with offsets that are accounted for: it fetches, delivers, commits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast
from uuid import UUID

import structlog
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers.aiokafka import Transport
from faust.types import TP

from delivery import metrics
from delivery.contiguity import Admission, holes, starting_point
from delivery.faust_internals import HookedConsumer, HookedThread, Records
from delivery.ledger import Ledger
from delivery.runs import Run, RunLimits
from runtime.failstop import fail_stop
from runtime.kafka.coordination import until_it_ends
from runtime.kafka.internals import client_of, committed_offsets, set_fetch_wait
from runtime.kafka.looks import begin_look, end_look
from runtime.kafka.membership import watch_membership
from runtime.kafka.topic_ids import topic_ids

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from delivery.app import DeliveryApp

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 250
POLL_S = 0.25
"""How long to wait for records of the partitions of an assignment that may have passed."""
LOOK_S = 1.0
"""How often a worker that may fetch nothing looks whether it has to stop."""


class LogPosition(NamedTuple):
    """What the broker says of a source partition."""

    committed: int | None
    """None: the group has never committed."""
    first: int
    end: int


class AccountingThread(HookedThread):
    """Thread that owns the aiokafka consumer; it notes which offsets the broker's answers prove absent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        app = cast(Any, self.consumer.app)
        self._limits: RunLimits = app.run_limits
        self._fetch_bytes: int = app.conf.consumer_max_fetch_size
        self._sought: dict[TP, int] = {}
        self.lingers = False
        """Whether to rest after the last look; written here and read by the app's loop."""
        self.absent: deque[tuple[TP, int, int]] = deque()
        """`(tp, start, end)`, written here and read by the app's loop."""

    def made(self, consumer: AIOKafkaConsumer) -> None:
        """Let requests for offsets wait less long behind a fetch that waits for records."""
        set_fetch_wait(consumer, FETCH_WAIT_MS)

    async def on_start(self) -> None:
        """Join nothing yet; have it watched that the instance id stays this worker's."""
        await super().on_start()
        watch_membership(self.started_client(), self.consumer.app.conf.consumer_group_instance_id)
        self.add_future(self._fail_with_client())

    async def _fail_with_client(self) -> None:
        reason = await until_it_ends(self.started_client())
        if not self.should_stop:
            fail_stop("kafka.client_ended", reason=reason)

    async def positions(self, tps: Iterable[TP]) -> dict[TP, LogPosition]:
        """Where each partition was committed, begins and ends: as many questions as for a single one."""
        found: dict[TP, LogPosition] = await self.call_thread(self._positions, list(tps))
        return found

    async def _positions(self, tps: list[TP]) -> dict[TP, LogPosition]:
        client = self.started_client()
        committed, firsts, ends = await asyncio.gather(
            committed_offsets(client, tps), client.beginning_offsets(tps), client.end_offsets(tps)
        )
        return {tp: LogPosition(committed.get(tp), firsts[tp], ends[tp]) for tp in tps}

    async def seek_back(self, offsets: Mapping[TP, int]) -> None:
        """Fetch each partition from its offset next."""
        await self.call_thread(self._seek_back, offsets)

    async def _seek_back(self, offsets: Mapping[TP, int]) -> None:
        # Seek and note are one step in this thread: no fetch answer can come between them.
        for tp, offset in offsets.items():
            try:
                self.started_client().seek(tp, offset)
            except IllegalStateError:
                log.info("partition.gone_before_seek", topic=tp.topic, partition=tp.partition)
            else:
                self._sought[tp] = offset

    def close(self) -> None:
        """Nothing: Faust closes the client so at a rebalance while the worker stops, in the wrong loop.

        Then the client's own stop, which leaves the group, does nothing, or waits for ever.
        """

    async def topic_ids(self, names: Iterable[str]) -> dict[str, UUID]:
        """As `runtime.kafka.topic_ids`."""
        found: dict[str, UUID] = await self.call_thread(self._topic_ids, names)
        return found

    async def _topic_ids(self, names: Iterable[str]) -> dict[str, UUID]:
        return await topic_ids(client_of(self.started_client()), names)

    async def look(self) -> None:
        """Have the brokers asked for what has come since the last look."""
        client = self.started_client()
        await begin_look(client, client.assignment())

    def fetched(self, records: Records) -> None:
        """Note what the answers prove absent; without a backlog, ask for no more before the next look."""
        self.lingers = self._limits.lingers_after(records.values(), self._fetch_bytes)
        if self.lingers:
            client = self.started_client()
            end_look(client, client.assignment())
        for key, batch in records.items():
            tp = ensure_TP(key)
            for start, end in holes([record.offset for record in batch], self._sought.pop(tp, None)):
                self.absent.append((tp, start, end))


class AccountingConsumer(HookedConsumer):
    """Consumer that delivers without gaps and commits only what is processed and in the changelog."""

    thread: AccountingThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledger = Ledger()
        self.owned: set[TP] = set()
        """Those of the last assignment until they are revoked: for a while the client still says more."""
        self.may_fetch = asyncio.Event()
        """Set while every source partition that is owned is sought and resumed.

        What is fetched sooner is of no use: it is passed over, looks like a gap, and is fetched again. Faust
        also sleeps for a second when it finds nothing to fetch from, while the first records wait.
        """
        self._resumed: set[TP] = set()

    def new_thread(self) -> AccountingThread:
        """The thread of this layer."""
        return AccountingThread(self, loop=self.loop, beacon=self.beacon)

    async def admit(self, run: Run) -> bool:
        """Whether the run is to be processed now, cut to what is new; on a gap, fetch the missing records."""
        admission = self.ledger.start(run)
        if admission is Admission.SEEK:
            log.info("partition.gap", topic=run.topic, partition=run.partition, offset=run.offset)
            await self.fetch_missing(run.tp)
        return admission is Admission.PROCESS

    async def fetch_missing(self, tp: TP) -> None:
        """Fetch the partition again from the first record that has not been handed out."""
        if partition := self.ledger.partitions.get(tp):
            partition.contiguity.sought()
            await self.thread.seek_back({tp: partition.contiguity.expected})

    @property
    def member(self) -> AIOKafkaConsumer | None:
        """The client that is a member of the group; None before there is one."""
        return self.thread.client

    def queued(self, topic: str) -> int:
        """How many runs of the topic wait for their agent."""
        return sum(channel.queue.qsize() for channel in self.app.topics if topic in channel.topics)

    def idle(self, tp: TP) -> bool:
        """Whether no agent has a run of the partition."""
        partition = self.ledger.partitions.get(tp)
        return partition is not None and not partition.handed_out

    async def perform_seek(self) -> None:
        """Start every source partition of a new assignment at its position, or at the log's start.

        That is the group's committed offset, or what the sink has stored beside what it writes. An offset
        that the log does not have is told loudly: records are lost, or are read again.

        Faust asks for it at any time, also while the group rebalances. What is no longer owned is left alone:
        a partition that is accounted for and never fetched would look stalled.
        """
        sources = {tp for tp in self.assignment() if not self.is_changelog(tp)}
        if not sources:
            return
        generation = self.app.consumer_generation_id
        logs = await self.thread.positions(sources)
        starts = {tp: position.committed for tp, position in logs.items()}
        new = {tp for tp in sources if not self.ledger.is_anchored(tp, generation)}
        for topic, stored in cast("DeliveryApp", self.app).positions.items():
            partitions = {tp.partition: tp for tp in new if tp.topic == topic}
            if stored is not None and partitions:
                found = await stored(partitions)
                starts |= {tp: found.get(partition) for partition, tp in partitions.items()}
        if self.app.consumer_generation_id != generation:
            return
        seeks: dict[TP, int] = {}
        for tp in sources & self.owned:
            position = starts.get(tp)
            start, outside = starting_point(position, logs[tp].first, logs[tp].end)
            if outside is not None and tp in new:
                metrics.OUTSIDE_LOG.labels(tp.topic, tp.partition, outside).inc()
                log.error(
                    "partition.committed_outside_log",
                    topic=tp.topic,
                    partition=tp.partition,
                    why=outside,
                    committed=position,
                    first=logs[tp].first,
                    end=logs[tp].end,
                )
            seeks[tp] = self.ledger.anchor(tp, generation, start)
        await self.thread.seek_back(seeks)
        self._look_whether_it_may_fetch()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from these again, once they are sought."""
        resumed = set(map(ensure_TP, tps))
        super().resume_partitions(resumed)
        self._resumed |= resumed
        self._look_whether_it_may_fetch()

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from these no more."""
        paused = set(map(ensure_TP, tps))
        super().pause_partitions(paused)
        self._resumed -= paused

    def _look_whether_it_may_fetch(self) -> None:
        sources = {tp for tp in self.owned if not self.is_changelog(tp)}
        generation = self.app.consumer_generation_id
        sought = all(self.ledger.is_anchored(tp, generation) for tp in sources)
        if sources and sought and sources <= self._resumed:
            self.may_fetch.set()

    async def hand_over(self, fetcher: Any) -> None:
        """Hand over what is fetched; Faust's task for the life of the fetcher.

        Faust's own loop gives up a hand-over when the flow is suspended, counts the message as read all the
        same, and drops it when it comes again. This one waits: the ledger skips what has become stale.
        """
        limits: RunLimits = cast(Any, self.app).run_limits
        lingers = False
        try:
            while not (self.should_stop or fetcher.should_stop):
                # What comes meanwhile makes the next runs longer; those of now are not kept waiting, nor is
                # the first record after a time without any.
                await asyncio.sleep(limits.linger_s if lingers else 0)
                lingers = False
                if not self.may_fetch.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await self.may_fetch.wait()
                    continue
                async for _, run in self.getmany(timeout=POLL_S):
                    lingers = self.thread.lingers
                    await self.callback(run)
                    await asyncio.sleep(0)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    def message_of(self, tp: TP, item: Any) -> Run:
        """A run: the scheduler yields lists of records."""
        return Run(tp, item, self.app.consumer_generation_id)

    def received(self, records: Records) -> None:
        """Note that an answer has come, and what was proved absent."""
        for key in records:
            if partition := self.ledger.partitions.get(ensure_TP(key)):
                partition.contiguity.answered()
        absent = self.thread.absent
        while absent:
            tp, start, end = absent.popleft()
            if partition := self.ledger.partitions.get(tp):
                partition.contiguity.absent(start, end)

    async def force_commit(self, *_: Any, **__: Any) -> bool:
        """Commit what the ledger allows, without waiting: a changelog record in flight caps the offset."""
        assigned = self.assignment()
        offsets = {tp: offset for tp, offset in self.ledger.committable().items() if tp in assigned}
        if not offsets or not await self.commit_offsets(offsets):
            return False
        self.ledger.committed(offsets)
        return True

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Own the partitions; the recovery cycle that this starts seeks them."""
        self.owned = set(assigned)
        self.may_fetch.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what is in progress and commit it while the partitions are still ours, then forget them.

        A sink that waits for its database may not finish in time; its records go to the next owner then.
        A table with states that are not acknowledged can't be kept: they would never be sent again.
        """
        self.owned -= revoked
        self.may_fetch.clear()
        try:
            await asyncio.wait_for(self.ledger.settle(revoked), self.app.conf.broker_session_timeout)
        except TimeoutError:
            if self.ledger.unacknowledged(revoked):
                fail_stop("partitions.revoked_unacknowledged", partitions=sorted(revoked))
            log.warning("partitions.revoked_unsettled", partitions=sorted(revoked))
        if not self.app.should_stop:  # else all is committed, and the thread may answer no more
            await self.commit()
        await super().on_partitions_revoked(revoked)
        self.ledger.drop(revoked)


class AccountingTransport(Transport):
    """Faust's aiokafka transport with the accounting consumer."""

    Consumer: ClassVar[Any] = AccountingConsumer


def consumer_of(app: Any) -> AccountingConsumer:
    """The accounting consumer of an app made by `create_app`."""
    return cast(AccountingConsumer, app.consumer)
