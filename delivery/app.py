"""Makes Faust apps with the settings and parts without which records get lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeAlias, cast

import faust
import structlog
from aiokafka import ConsumerRecord
from faust.types import AgentT
from faust.types.transports import TransportT

from delivery.changelog import ChangelogWriter
from delivery.consumer import AccountingTransport
from delivery.errors import TopicTaken
from delivery.faust_internals import HookedApp
from delivery.recovery import ReplayTableManager
from delivery.runs import RunLimits, RunScheduler
from delivery.settings import DeliverySettings
from delivery.source_records import source_of
from delivery.states import HeadersOf, Keep
from delivery.table import (
    RAW,
    ChangelogTable,
    Opened,
    Replaying,
    nothing_else_to_read,
    nothing_to_find,
)
from runtime.failstop import fail_stop
from runtime.kafka.membership import HEARTBEATS_PER_SESSION, client_id
from topics.dead_letters import DeadLetterRecord, DeadLetters

log = structlog.get_logger(__name__)

Positions: TypeAlias = Callable[[Collection[int]], Awaitable[Mapping[int, int]]]
"""Where to begin in partitions that were just assigned, for a sink that keeps that beside what it writes."""

OVERHEAD_BYTES = 64 << 10
"""Room for key, headers and batch framing beside the largest value."""
FETCH_BYTES = 1 << 20

RUN_LIMITS = RunLimits()
BUFFERED_RUNS = 32
"""Runs that may wait for the agent before fetching pauses: with the longest ones some ten megabytes."""


class DeliveryApp(HookedApp):
    """A Faust app on the accounting consumer. Make one with `create_app`."""

    def __init__(self, name: str, settings: DeliverySettings, run_limits: RunLimits, **options: Any) -> None:
        super().__init__(name, ConsumerScheduler=partial(RunScheduler, run_limits), **options)
        self.settings = settings
        self.run_limits = run_limits
        self.dead_letters = DeadLetters(name, self._send_dead_letter)
        self.positions: dict[str, Positions | None] = {}
        """What each source topic is consumed from, by name; None: from the group's committed offsets."""

    def source(self, name: str, positions: Positions | None = None) -> faust.TopicT:
        """The topic as a source of raw bytes for one agent; a tombstone's value is None.

        Raises TopicTaken at the second call for one name.
        """
        if name in self.positions:
            raise TopicTaken(f"{name} is consumed by another agent of {self.conf.id}")
        self.positions[name] = positions
        return self.topic(name, **RAW)

    def changelog_table(
        self,
        name: str,
        *,
        keep: Keep,
        headers_of: HeadersOf,
        opened: Opened = nothing_to_find,
        replaying: Replaying = nothing_else_to_read,
        compression: str | None = None,
    ) -> ChangelogTable:
        """A table whose changelog is the topic `name`, which must exist with the source's partitions.

        `compression` is what its batches are compressed with, as aiokafka calls it.
        """
        writer = ChangelogWriter(self.settings, name, compression)
        table = ChangelogTable(
            self,
            writer=writer,
            settings=self.settings,
            keep=keep,
            headers_of=headers_of,
            opened=opened,
            replaying=replaying,
        )
        self.tables.add(table)
        return table

    def changelog_tables(self) -> list[ChangelogTable]:
        """All tables made by `changelog_table`."""
        return [table for table in self.tables.values() if isinstance(table, ChangelogTable)]

    async def refuse(self, record: ConsumerRecord, code: str, detail: str) -> None:
        """Send the record to the dead letters and wait for the acknowledgement.

        If the topic refuses it the exception goes through the agent and ends the process: a record is never
        both unprocessed and not kept.
        """
        await self.dead_letters.keep(source_of(record), code, detail)

    async def recovered(self) -> None:
        """Wait until partitions are assigned, tables replayed and the first records may come."""
        await cast(ReplayTableManager, self.tables).recovery.completed.wait()

    async def _send_dead_letter(self, record: DeadLetterRecord) -> None:
        future = await self.producer.send(
            self.settings.dead_letter_topic, record.key, record.value, None, None, record.headers
        )
        await future

    def new_transport(self) -> TransportT:
        """The one of this layer."""
        return AccountingTransport(self.conf.broker_consumer, self)

    async def agent_failed(self, agent: AgentT[Any], error: BaseException) -> None:
        """End the process: Faust would acknowledge the event, and only a new process gets it again."""
        log.error("agent.failed", agent=agent.name, exc_info=error)
        fail_stop("agent.failed", agent=agent.name, error=repr(error))


def create_app(name: str, settings: DeliverySettings, run_limits: RunLimits = RUN_LIMITS) -> DeliveryApp:
    """Make the app of one process: `name` is its consumer group. Connects to nothing."""
    max_request = settings.max_record_bytes + OVERHEAD_BYTES
    app = DeliveryApp(
        name,
        settings,
        run_limits,
        broker=[f"kafka://{server}" for server in settings.kafka_bootstrap.split(",")],
        broker_credentials=settings.faust_credentials(),
        broker_commit_interval=settings.commit_interval_s,
        broker_client_id=client_id(),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / HEARTBEATS_PER_SESSION,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.group_instance_id,
        # No limit on the records taken at once: the scheduler goes round the partitions. With one Faust takes
        # records of a single partition, whose backlog would keep the others waiting for minutes.
        broker_max_poll_records=None,
        # Of each partition. A larger record comes alone; what is fetched takes several times as much memory.
        consumer_max_fetch_size=min(max_request, FETCH_BYTES),
        producer_acks=-1,
        producer_linger=0.005,
        producer_request_timeout=60.0,
        producer_max_request_size=max_request,
        producer_max_batch_size=64 << 10,
        datadir=settings.datadir / name,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        stream_buffer_maxsize=BUFFERED_RUNS,
        stream_wait_empty=False,
        stream_recovery_delay=0,
        # A standby reads the changelog through Faust's recovery, which is not used; a replay takes seconds.
        table_standby_replicas=0,
        TableManager=ReplayTableManager,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.finalize()
    return app
