"""Three Kafka brokers of the tests' own, each a controller too, to be killed and emptied one by one."""

import asyncio
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from devstack.embedded import EmbeddedComponent, EmbeddedStack
from devstack.free_ports import free_ports
from devstack.kafka import Member, kafka_component
from devstack.settings import HOST, KAFKA, StackSettings
from devstack.spec import NotReadyError
from runtime.settings import load
from tests.support.waiting import until

COUNT: Final = 3
ANSWERED_WITHIN_MS: Final = 10_000
IN_SYNC_WITHIN_S: Final = 300.0
"""How long a broker may take to catch up, on a machine that has other work."""


class Brokers:
    """The cluster: what is killed stays dead until it is started."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(2 * COUNT)
        brokers, controllers = ports[:COUNT], ports[COUNT:]
        cluster_id = str(uuid4())
        self.names: Final = tuple(f"{KAFKA}-{number}" for number in range(1, COUNT + 1))
        self.bootstrap: Final = ",".join(f"{HOST}:{port}" for port in brokers)
        base = load(StackSettings)
        self._members: Final = {
            name: Member(number, cluster_id, tuple(controllers))
            for number, name in enumerate(self.names, start=1)
        }
        self._stacks: Final = {
            name: EmbeddedStack(
                folder / name,
                base.model_copy(update={"kafka_port": broker, "kafka_controller_port": controller}),
                only=(KAFKA,),
            )
            for name, broker, controller in zip(self.names, brokers, controllers, strict=True)
        }

    async def __aenter__(self) -> Self:
        for name, stack in self._stacks.items():
            await asyncio.to_thread(stack.open)
            spec = kafka_component(stack.settings, self._members[name])
            ready = partial(_is_member, stack.urls.kafka_bootstrap, self._members[name].number)
            # The stack does not show its parts; only tests want another broker than the usual one.
            stack._supervisor.components[KAFKA].spec = replace(spec, ready=ready)  # noqa: SLF001
        try:
            await asyncio.gather(*(self.start(name) for name in self.names))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    def component(self, name: str) -> EmbeddedComponent:
        """A broker by name."""
        return self._stacks[name].component(KAFKA)

    async def kill(self, name: str) -> None:
        """Ends a broker with SIGKILL."""
        await asyncio.to_thread(self.component(name).kill)

    async def start(self, name: str) -> None:
        """Starts a broker on what its disk has; returns when it belongs to the cluster."""
        await asyncio.to_thread(self.component(name).start)

    async def mend(self) -> None:
        """Starts what is dead; returns when all brokers have all records."""
        dead = [name for name in self.names if self.component(name).pid is None]
        await asyncio.gather(*(self.start(name) for name in dead))
        await self.until_in_sync()

    def wipe(self, name: str) -> None:
        """Deletes all that a dead broker has on its disk, its part of the metadata too."""
        shutil.rmtree(self._stacks[name].settings.data_dir / KAFKA / "data")

    async def leader(self, topic: str, partition: int = 0) -> str:
        """The broker that leads the partition."""
        (described,) = await self._described([topic])
        number = next(each["leader"] for each in described["partitions"] if each["partition"] == partition)
        return f"{KAFKA}-{number}"

    async def until_in_sync(self) -> None:
        """Returns when every broker has all records of every partition that it keeps."""
        await until(self._are_in_sync, "all copies in sync", IN_SYNC_WITHIN_S, every_s=0.5)

    async def _are_in_sync(self) -> bool:
        try:
            topics = await self._described(None)
        except (KafkaError, OSError):
            return False  # a broker that was asked has just gone, or just come
        partitions = [partition for topic in topics for partition in topic["partitions"]]
        return all(len(each["isr"]) == len(each["replicas"]) for each in partitions)

    async def _described(self, topics: list[str] | None) -> list[dict[str, Any]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=ANSWERED_WITHIN_MS)
        try:
            await admin.start()
            found: list[dict[str, Any]] = await admin.describe_topics(topics)
            return found
        finally:
            await admin.close()

    async def _stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(stack.stop) for stack in self._stacks.values()))


async def _is_member(address: str, number: int) -> None:
    """Ready when the broker counts itself among those of the cluster."""
    host, port = address.rsplit(":", 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=ANSWERED_WITHIN_MS)
    try:
        # Asked first: aiokafka logs an error for each refused connection, and while a broker starts all are.
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await admin.start()
        brokers = (await admin.describe_cluster())["brokers"]
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotReadyError(str(error)) from error
    finally:
        await admin.close()
    if number not in {broker["node_id"] for broker in brokers}:
        raise NotReadyError(f"broker {number} does not belong to its cluster yet")
