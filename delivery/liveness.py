"""Watches that committed offsets advance while there is lag: a Faust consumer can die silently."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from delivery import metrics
from delivery.app import DeliveryApp
from delivery.consumer import consumer_of
from delivery.table import ChangelogTable
from runtime.failstop import fail_stop
from runtime.health import Checks
from runtime.kafka.lag_age import LagAges
from runtime.kafka.topic_ids import FirstIds

log = structlog.get_logger(__name__)

POLL_S = 2.0
QUIET_S = 5.0
"""Lag without progress for this long: the last record of the log may have been lost in Faust."""
TICK_S = 0.25
_KAFKA = "kafka"
"""The check of a worker at work."""


class Liveness:
    """Lag and progress of every partition of one app."""

    def __init__(self, app: DeliveryApp) -> None:
        self._app = app
        self.lag: dict[TP, int] = {}
        """Log end minus committed offset, as last measured."""
        self._beyond: set[TP] = set()
        self._first_ids = FirstIds()
        self._ages = LagAges()
        self._unanswered: dict[str, float] = {}

    async def look(self) -> None:
        """Measure the lag, fetch again what may be lost at the end of a log, look for foreign writes.

        Ends the process with code 75 when a topic was made anew, or a log ends before what was committed of
        it: the next process begins where it is safe. The second is seen twice, because a new leader may know
        the end a little late.
        """
        consumer = consumer_of(self._app)
        await self._look_at_topics()
        partitions = consumer.ledger.partitions
        ends: Any = await consumer.highwaters(*partitions) if partitions else {}
        beyond = {tp for tp, end in ends.items() if tp in partitions and end < partitions[tp].committed}
        if lost := beyond & self._beyond:
            fail_stop("partition.log_lost_its_end", partitions=sorted(lost))
        self._beyond = beyond
        for tp in self.lag.keys() - partitions.keys():
            for gauge in (metrics.LAG, metrics.LAG_SECONDS):
                gauge.remove(self._app.conf.id, tp.topic, tp.partition)
        self.lag = {
            tp: max(0, end - partitions[tp].committed) for tp, end in ends.items() if tp in partitions
        }
        self._ages.keep(self.lag)
        for tp, lag in self.lag.items():
            place = self._app.conf.id, tp.topic, tp.partition
            metrics.LAG.labels(*place).set(lag)
            age = self._ages.age(tp, partitions[tp].committed, ends[tp], time.monotonic())
            metrics.LAG_SECONDS.labels(*place).set(age)
            if not lag:
                consumer.ledger.beat([tp])
            elif self._quiet_for(tp) > QUIET_S and not consumer.queued(tp.topic) and consumer.idle(tp):
                await consumer.fetch_missing(tp)
        for table in self._app.changelog_tables():
            self._time_answer(table)
            await table.answer_foreign_writes()
            self._time_answer(table)

    async def _look_at_topics(self) -> None:
        """The client does not tell a topic that was made anew: offsets go on, or there are no partitions."""
        tables = [table.changelog_topic_name for table in self._app.changelog_tables()]
        found = await consumer_of(self._app).thread.topic_ids([*self._app.positions, *tables])
        if (topic := self._first_ids.made_anew(found)) is not None:
            fail_stop("topic.made_anew", topic=topic)

    def _time_answer(self, table: ChangelogTable) -> None:
        now = time.monotonic()
        if not table.changelog_may_be_behind:
            self._unanswered.pop(table.name, None)
        elif table.name not in self._unanswered:
            self._unanswered[table.name] = now
        metrics.UNANSWERED.labels(table.name).set(now - self._unanswered.get(table.name, now))

    def stalled(self, after_s: float) -> list[TP]:
        """Partitions with lag in which no offset was committed and nothing tried for `after_s` seconds.

        One that only waits for its turn, with records queued for an agent at work on others, is not.
        """
        behind = [tp for tp, lag in self.lag.items() if lag]
        quiet = {tp for tp in behind if self._quiet_for(tp) > after_s}
        at_work = {tp.topic for tp in behind if tp not in quiet and consumer_of(self._app).queued(tp.topic)}
        return [tp for tp in quiet if tp.topic not in at_work]

    async def watch(self, checks: Checks) -> None:
        """Measure every few seconds; end the process with code 75 when a partition is stalled.

        `checks` hear whether Kafka answers.
        """
        after_s = self._app.settings.stall_after_s
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await asyncio.wait_for(self.look(), after_s)
            except (KafkaError, TimeoutError) as error:
                log.warning("liveness.unknown", error=repr(error))
                checks.degraded(_KAFKA, f"no answer: {error!r}")
            else:
                checks.ok(_KAFKA)
            if stalled := self.stalled(after_s):
                fail_stop("partition.stalled", partitions=stalled, seconds=after_s)

    def _quiet_for(self, tp: TP) -> float:
        partition = consumer_of(self._app).ledger.partitions.get(tp)
        return time.monotonic() - partition.moved_at if partition else 0.0


async def stop_when_frozen(longest_s: float) -> None:
    """End the process with code 75 at the first tick after it was frozen for `longest_s` seconds.

    Its partitions may belong to another worker by then, and its group session knows it too late.
    """
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK_S)
        if (frozen := time.monotonic() - before) > longest_s:
            fail_stop("worker.was_frozen", seconds=round(frozen, 1))
