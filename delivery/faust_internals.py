"""Every private part of Faust that this layer overrides or calls, by a public name.

The classes here are Faust's, with hooks; what the layer does in them stands in its other modules.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, cast

import faust
from aiokafka import AIOKafkaConsumer
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP, AgentT
from faust.types.transports import TransportT
from faust.types.tuples import ConsumerMessage
from mode import Service

from delivery.errors import OutsideOfStream
from runtime.private_parts import PrivatePart

Records = Mapping[Any, list[Any]]
"""The records of answers of the broker, by partition."""

_READ: Final = ("consumer", "tps", "destination", "title")

PARTS: Final = (
    PrivatePart(
        AIOKafkaConsumerThread, "_create_worker_consumer", "set up the aiokafka consumer", ("transport",)
    ),
    PrivatePart(
        AIOKafkaConsumerThread,
        "_fetch_records",
        "learn from each answer of the broker which offsets do not exist",
        ("consumer", "active_partitions", "timeout", "max_records"),
    ),
    PrivatePart(AIOKafkaConsumerThread, "_ensure_consumer", "seek in the thread of the consumer", ()),
    PrivatePart(AIOKafkaConsumerThread, "_consumer", "leave the group of a worker that is not ready"),
    PrivatePart(Consumer, "_new_consumer_thread", "use a thread of this layer", ()),
    PrivatePart(Consumer, "_thread", "seek in the thread of the consumer"),
    PrivatePart(Consumer, "_drain_messages", "hand over what was fetched without losing any", ("fetcher",)),
    PrivatePart(
        Consumer, "_getmany", "tell answers that came after a seek", ("active_partitions", "timeout")
    ),
    PrivatePart(Consumer, "_to_message", "make runs of records", ("tp", "record")),
    PrivatePart(Consumer, "_commit", "commit the offsets of the ledger", ("offsets",)),
    PrivatePart(Consumer, "_is_changelog_tp", "tell sources from changelogs", ("tp",)),
    PrivatePart(faust.App, "_new_transport", "use the consumer of this layer", ()),
    PrivatePart(faust.App, "_on_agent_error", "end the process when an agent fails", ("agent", "exc")),
    PrivatePart(faust.App, "_crashed", "end the process when Faust has crashed"),
    PrivatePart(Recovery, "_restart_recovery", "end the process when the recovery ends"),
    PrivatePart(Recovery, "_build_highwaters", "replay tables without Faust's reading", _READ),
    PrivatePart(Recovery, "_build_offsets", "replay tables without Faust's reading", _READ),
    PrivatePart(
        Recovery,
        "_seek_offsets",
        "replay tables without Faust's reading",
        ("consumer", "tps", "offsets", "title"),
    ),
    PrivatePart(TableManager, "_recovery", "use the recovery of this layer"),
    PrivatePart(TableManager, "_update_channels", "start without a second's rest", ()),
    PrivatePart(faust.Table, "_new_store", "keep tables in stores of this layer", ()),
    PrivatePart(
        faust.Table,
        "_verify_source_topic_partitions",
        "refuse a changelog with other partitions than its source",
        ("source_topic",),
    ),
)


class HookedThread(AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer."""

    @abstractmethod
    def made(self, consumer: AIOKafkaConsumer) -> None:
        """The consumer is made, and not started."""

    @abstractmethod
    async def look(self) -> None:
        """What has come is about to be taken; in the thread."""

    @abstractmethod
    def fetched(self, records: Records) -> None:
        """Answers of the broker, one a partition, have come; in the thread."""

    @property
    def client(self) -> AIOKafkaConsumer | None:
        """The consumer; None before it is started."""
        return self._consumer

    def started_client(self) -> AIOKafkaConsumer:
        """The consumer. Raises faust.exceptions.ConsumerNotStarted before it is started."""
        return self._ensure_consumer()

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        self.made(consumer)
        return consumer

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Records:
        await self.look()
        records: Records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        self.fetched(records)
        return records


class HookedConsumer(Consumer):
    """The consumer in the app's loop, which works through the thread."""

    @abstractmethod
    def new_thread(self) -> HookedThread:
        """The thread, not started."""

    @abstractmethod
    def message_of(self, tp: TP, item: Any) -> ConsumerMessage:
        """The message of what the scheduler has yielded."""

    @abstractmethod
    async def hand_over(self, fetcher: Any) -> None:
        """Give what is fetched to the streams for the life of the fetcher."""

    @abstractmethod
    def received(self, records: Records) -> None:
        """What the thread has fetched has come; in the app's loop."""

    @property
    def thread(self) -> HookedThread:
        """The thread."""
        return cast(HookedThread, self._thread)

    def is_changelog(self, tp: TP) -> bool:
        """Whether the partition is one of a changelog."""
        return bool(self._is_changelog_tp(tp))

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """Commit exactly these; whether the broker has stored them."""
        return bool(await self._commit(offsets))

    def _new_consumer_thread(self) -> HookedThread:
        return self.new_thread()

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        return self.message_of(tp, record)

    async def _drain_messages(self, fetcher: Any) -> None:
        await self.hand_over(fetcher)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Records:
        records: Records = await super()._getmany(active_partitions, timeout)
        self.received(records)
        return records


class HookedApp(faust.App):
    """The app."""

    @abstractmethod
    def new_transport(self) -> TransportT:
        """What the app consumes with."""

    @abstractmethod
    async def agent_failed(self, agent: AgentT[Any], error: BaseException) -> None:
        """The body of an agent has raised."""

    async def crashed_for_good(self) -> None:
        """Wait until Faust has crashed: mode gives no other sign."""
        await self._crashed.wait()

    def _new_transport(self) -> TransportT:
        return self.new_transport()

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:
        await self.agent_failed(agent, exc)


class HookedRecovery(Recovery):
    """The recovery cycle, which reads nothing itself."""

    @abstractmethod
    async def supervise(self, restarts: Callable[[Recovery], Awaitable[None]]) -> None:
        """Run Faust's task that restarts the recovery after each rebalance, for the life of the worker."""

    @Service.task
    async def _restart_recovery(self) -> None:
        # Service.task makes a wrapper of the method, which has no counterpart in `super()`.
        await self.supervise(cast(Any, Recovery._restart_recovery).fun)  # noqa: SLF001

    async def _build_highwaters(self, *_: Any) -> None:
        """Nothing: the replay finds its own bounds, and every question to the broker delays a restart."""

    async def _build_offsets(self, *_: Any) -> None:
        """Nothing, likewise."""

    async def _seek_offsets(self, *_: Any) -> None:
        """Nothing, likewise."""


class HookedTableManager(TableManager):
    """The table manager."""

    @abstractmethod
    def new_recovery(self) -> HookedRecovery:
        """The recovery service, not started."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when it is first asked for, in the running loop."""
        if self._recovery is None:
            self._recovery = self.new_recovery()
        return self._recovery

    async def on_start(self) -> None:
        """As Faust's, without the second that it rests first: all topics and tables are known before."""
        await self._update_channels()
        await self.recovery.start()


class HookedTable(faust.Table[bytes, bytes]):
    """A table without a store of Faust's."""

    def verify_partitions(self, source_topic: str) -> None:
        """Raise faust.exceptions.PartitionsMismatch if changelog and source differ in partitions."""
        self._verify_source_topic_partitions(source_topic)

    def _new_store(self) -> NoReturn:
        raise OutsideOfStream("Read with `table.lookup(run, key)`")
