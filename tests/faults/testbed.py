"""The whole product on servers of its own: two gateways, several workers, breakable networks before Kafka.

Products and orders are kept here, and there is a catalogue of what tests and clients buy.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError

from devstack.component import Component
from devstack.components import CARTSTREAM
from devstack.embedded import EmbeddedComponent, EmbeddedStack
from devstack.errors import ComponentFailedError
from devstack.files import password_file
from devstack.free_ports import free_ports
from devstack.settings import HOST, KAFKA, POSTGRES, REDIS, StackSettings, Urls
from devstack.spec import Preparing, RestartPolicy, State
from runtime.owners import OrdersOwner, ProductsOwner
from runtime.settings import load
from tests.faults.catalogue import NAMED, OWN, offer
from tests.faults.proxy import NetworkCondition, Proxies, Proxy
from tests.faults.topology import AGENTS, SERVERS, Topology, place_of
from tests.mail.smtp_server import SmtpServer
from tests.support.brokers import Brokers
from tests.support.redis_servers import Replicated, primaries
from topics.groups import COMPACTION, MAIL_SINK, MERGES
from topics.registry import CART_CHANGED, CART_MERGES, ORDERS

PRODUCT: Final = ("topics", "migrate", "gateway", *AGENTS)
READY_SECONDS: Final = 180.0
MUTATIONS: Final = Path(__file__).with_name("mutations")
OFFSETS: Final = {
    "compaction": (COMPACTION, CART_CHANGED.name),
    "merges": (MERGES, CART_MERGES.name),
    "sink-mail": (MAIL_SINK, ORDERS.name),
}
"""The groups whose position in a topic is a committed offset: the group's id and the topic."""
FAR: Final = 1_000_000
"""So far past the end that the log does not get there while the workers are away."""
HASTE: Final = {
    "jobs": {
        "CARTSTREAM_SETTLEMENT_PAUSE_S": "0.5",
        "CARTSTREAM_SETTLEMENT_GRACE_S": "1",
        "CARTSTREAM_MERGE_PAUSE_S": "0.5",
        "CARTSTREAM_MERGE_WATCH_PAUSE_S": "2",
    },
    # Longer than a freeze, for a mail that waits is no mail that is lost; the retry is the wait after a kill.
    "sink-mail": {
        "CARTSTREAM_SMTP_TIMEOUT_S": "15",
        "CARTSTREAM_MAIL_RETRY_S": "16",
    },
}
"""What is settled and sent again after a fault, sooner than by default: runs wait for it."""
ROOM: Final = {"sink-mail": {"CARTSTREAM_ORDER_MAILS_PER_DAY": "100000"}}
"""Limits that a load of few buyers with many orders each would reach."""
CLOCKS: Final = Path(__file__).parents[1] / "gateway" / "skew"
_MUTATION_VARIABLES: Final = (
    "CARTSTREAM_TEST_MUTATION",
    "CARTSTREAM_TEST_SKEW_S",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
)
_ALONE_LISTENER: Final = "ALONE"
"""Kafka tells clients the address of the listener they came by: whose network is its own needs its own."""
_AOF: Final = "appendonlydir"
_BASE: Final = "appendonly.aof.1.base.rdb"
_POLL_SECONDS: Final = 0.05


Prepare = Callable[[Preparing], Awaitable[None]]


class TestbedBroken(Exception):
    """A component did not come back: its log is in the testbed's folder."""

    __test__ = False


class Testbed:
    """Servers, gateways and workers, each component restarted by its supervisor when it dies.

    Everybody reaches Kafka through a proxy, for that is the address the broker advertises: the second gateway
    through `alone`, all others through another one; `network` is both. Redis and Postgres have a proxy each
    where the topology says so; `networks` are those of all proxied servers, by their names.
    """

    __test__ = False

    def __init__(
        self,
        folder: Path,
        topology: Topology | None = None,
        variables: Mapping[str, Mapping[str, str]] | None = None,
        brokers: Brokers | None = None,
        replicated: Replicated | None = None,
    ) -> None:
        """`variables` are settings of all workers of a group, by the group's name.

        `brokers` that are running take the place of the one broker; no network before them can be broken.
        `replicated`, which is running, too, takes the place of the one server of Redis.
        """
        self.brokers: Final = brokers
        self.replicated: Final = replicated
        self._variables: Final = variables or {}
        self.smtp: Final = SmtpServer()
        self.topology: Final = topology or Topology()
        broker, proxied, *others = free_ports(11)
        gateway, controller, redis_port, postgres, second, alone_broker, alone_proxied, *seen_near = others
        seen_redis, seen_postgres = seen_near
        settings = load(StackSettings).model_copy(
            update={
                "products_owner": ProductsOwner.INTERNAL,
                "orders_owner": OrdersOwner.INTERNAL,
                "mailbox_smtp_port": self.smtp.port,
            }
        )
        served = settings.with_ports(gateway, broker, controller, redis_port, postgres)
        seen = served.model_copy(
            update={
                "kafka_port": proxied,
                "redis_port": seen_redis if REDIS in self.topology.proxied else redis_port,
                "postgres_port": seen_postgres if POSTGRES in self.topology.proxied else postgres,
                "postgres_password_file": password_file(folder / "servers"),
            }
        )
        self.folder: Final = folder
        self._shared: Final = Proxy(proxied, broker)
        self.alone: Final = Proxy(alone_proxied, alone_broker)
        self.network: Final = Proxies(self._shared, self.alone)
        near = {REDIS: (seen_redis, redis_port), POSTGRES: (seen_postgres, postgres)}
        self._near: Final = {
            server: Proxy(*ports) for server, ports in near.items() if server in self.topology.proxied
        }
        self.networks: Final[Mapping[str, Proxy | Proxies]] = {KAFKA: self.network, **self._near}
        self.urls: Final[Urls] = replace(
            seen.urls,
            kafka_bootstrap=seen.urls.kafka_bootstrap if brokers is None else brokers.bootstrap,
            redis=seen.urls.redis if replicated is None else replicated.url,
        )
        self.gateways: Final = (seen.urls.gateway, f"http://{HOST}:{second}")
        self._listeners: Final = {
            "PLAINTEXT": (broker, proxied),
            _ALONE_LISTENER: (alone_broker, alone_proxied),
        }
        self._controller: Final = controller
        given = {KAFKA: brokers, REDIS: replicated}
        self._server_names: Final = tuple(name for name in SERVERS if given.get(name) is None)
        self._servers = EmbeddedStack(folder / "servers", served, self._server_names, RestartPolicy.ALWAYS)
        self._product = EmbeddedStack(folder / "product", seen, PRODUCT, RestartPolicy.ALWAYS)
        # A data folder for the first, the second, … of each kind: in one no two have the same name.
        self._more = {
            number: EmbeddedStack(
                folder / f"number-{number}",
                seen.model_copy(update={"gateway_port": second}),
                [group for group, which in map(place_of, self.processes) if which == number],
                RestartPolicy.ALWAYS,
            )
            for number in range(2, max(2, self.topology.workers) + 1)
        }
        self._cleanup = AsyncExitStack()
        self._redis_folder: Final = folder / "servers" / "redis"
        self._next_redis: Path | None = None
        self._away: set[str] = set()
        self.older_code: Path | None = None
        """A folder with the product as it was; `Kind.OLDER` restarts a component with it."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(self._shared)
            await starting.enter_async_context(self.alone)
            for proxy in self._near.values():
                await starting.enter_async_context(proxy)
            await self.smtp.open()
            starting.push_async_callback(self.smtp.close)
            await self._start(self._servers, starting)
            await self._start(self._product, starting)
            for stack in self._more.values():
                await self._start(stack, starting)
            await offer(self.gateways[0], dict.fromkeys((*OWN, *NAMED)))
            self._cleanup = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    @property
    def processes(self) -> tuple[str, ...]:
        """The names of everything but the servers."""
        return self.topology.processes

    def component(self, name: str) -> EmbeddedComponent:
        """A component by name."""
        stack, own_name = self._whereabouts(name)
        return stack.component(own_name)

    def _whereabouts(self, name: str) -> tuple[EmbeddedStack, str]:
        """The stack that a component is in, and what it is called there."""
        group, number = place_of(name)
        if number > 1:
            return self._more[number], group
        return (self._product if name in PRODUCT else self._servers), name

    async def kill(self, name: str) -> None:
        """Ends a component with SIGKILL, frozen or not; its supervisor starts it again."""
        await self._signal(name, SIGKILL)

    async def freeze(self, name: str) -> None:
        """Stops a component's clock: connections stay open and nothing answers."""
        await self._signal(name, SIGSTOP)

    async def _signal(self, name: str, number: Signals) -> None:
        """Sends a signal; to one that has ended by itself meanwhile, once it is started again."""
        component = self.component(name)
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    return await asyncio.to_thread(component.kill, number)
                except ComponentFailedError:
                    await asyncio.sleep(_POLL_SECONDS)

    async def thaw(self, name: str) -> None:
        """Lets a frozen component go on; one that is gone needs nothing."""
        with suppress(ComponentFailedError):
            await asyncio.to_thread(self.component(name).resume)

    async def restart(self, name: str) -> None:
        """Stops a component gently and starts it again."""
        component = self.component(name)
        await asyncio.to_thread(component.stop)
        await asyncio.to_thread(component.start)

    async def leave(self, name: str) -> None:
        """Stops a component gently, for as long as nobody lets it `join`."""
        self._away.add(name)
        await asyncio.to_thread(self.component(name).stop)

    async def join(self, name: str) -> None:
        """Starts a component that has left; returns when it does its work."""
        await asyncio.to_thread(self.component(name).start)
        self._away.discard(name)

    async def mend(self) -> None:
        """Lets everything go on that a scene has left broken."""
        for network in self.networks.values():
            network.condition = NetworkCondition.NORMAL
        for name in (*self._server_names, *self.processes):
            await self.thaw(name)
            await self.wait_ready(name)

    async def mutate(self, name: str, how: str | None) -> None:
        """Restarts a component with one of its functions replaced, or whole again."""
        self._change(name, {} if how is None else _imported_first(MUTATIONS, CARTSTREAM_TEST_MUTATION=how))
        await self.restart(name)

    async def run_code(self, name: str, folder: Path | None) -> None:
        """Restarts a component with the product's code in a folder, or with this one's."""
        self._change(name, {} if folder is None else code_of(folder))
        await self.restart(name)

    async def set_clock(self, name: str, seconds: float | None) -> None:
        """Kills a component, and starts it with a clock that is so much ahead, or a right one again.

        One whose clock is wrong may never be ready, so nobody waits for that.
        """
        skew = {} if seconds is None else _imported_first(CLOCKS, CARTSTREAM_TEST_SKEW_S=f"{seconds:g}")
        self._change(name, skew)
        await self.kill(name)

    def _change(self, name: str, variables: dict[str, str]) -> None:
        """Starts a component with these variables the next time, and without those of a change before."""
        stack, own_name = self._whereabouts(name)
        component = _components(stack)[own_name]
        env = {key: value for key, value in component.spec.env.items() if key not in _MUTATION_VARIABLES}
        component.spec = replace(component.spec, env=env | variables)

    async def wait_all_ready(self) -> None:
        """Returns when every process does its work, but for those that have left. Raises TestbedBroken."""
        for name in self.processes:
            if name not in self._away:
                await self.wait_ready(name)

    async def wait_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Returns when a component does its work. Raises TestbedBroken if it does not within `seconds`."""
        component = self.component(name)
        try:
            async with asyncio.timeout(seconds):
                while component.pid is None or component.state is not State.READY:
                    if component.state is State.FAILED:
                        raise TestbedBroken(f"{name} has failed; see the logs in {self.folder}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise TestbedBroken(f"{name} is not ready after {seconds:g} s; logs in {self.folder}") from None

    async def commit_past_the_end(self, group: str) -> None:
        """Stops all workers of a group, commits offsets that the log does not have, and starts the workers.

        So it is where a log has lost its end and the group's offsets were kept.
        """
        workers = self.topology.workers_of(group)
        await asyncio.gather(*(self.leave(name) for name in workers))
        group_id, topic = OFFSETS[group]
        places = [TopicPartition(topic, partition) for partition in range(self.topology.partitions)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self.urls.kafka_bootstrap, group_id=group_id, enable_auto_commit=False
        ) as consumer:
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            beyond = {place: end + FAR for place, end in ends.items()}
            async with asyncio.timeout(READY_SECONDS):
                while not await _committed(consumer, beyond):  # noqa: ASYNC110  the coordinator tells nobody
                    await asyncio.sleep(_POLL_SECONDS)
        await asyncio.gather(*(self.join(name) for name in workers))

    async def lose_the_end(self, topic: str) -> None:
        """Restarts Kafka without the last batch of each partition of a topic, as after a disk that lied."""
        await self.leave("kafka")
        data = self.folder / "servers" / "kafka" / "data"
        (data / ".kafka_cleanshutdown").unlink(missing_ok=True)
        for partition in range(self.topology.partitions):
            last = max((data / f"{topic}-{partition}").glob("*.log"))
            if size := last.stat().st_size:
                # A batch without its end is none: the broker drops it when it looks through its log.
                os.truncate(last, size - 1)
        await self.join("kafka")

    async def make_anew(self, *topics: str) -> None:
        """Deletes topics and applies the registry again: an operator's mistake while everything runs."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.urls.kafka_bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([*topics])
        finally:
            await admin.close()
        async with asyncio.timeout(READY_SECONDS):
            # Until the old ones are gone the broker refuses new ones.
            while (await self.command("topics", "apply", "--allow-single"))[0]:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Runs a command of `cartstream` on the stores: its exit status, and what it said."""
        variables = {**self.urls.environment(), "CARTSTREAM_PARTITIONS": str(self.topology.partitions)}
        process = await asyncio.create_subprocess_exec(
            *CARTSTREAM,
            *arguments,
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def flush_redis(self) -> None:
        """Deletes everything in Redis."""
        for client in await asyncio.to_thread(primaries, self.urls.redis):
            with client:
                await asyncio.to_thread(client.flushall)

    async def copy_of_redis(self) -> Path:
        """What a replica would have that stops receiving now: a copy of the append-only file."""
        copy = self.folder / "copies" / uuid4().hex
        await asyncio.to_thread(shutil.copytree, self._redis_folder / _AOF, copy)
        return copy

    async def backup_of_redis(self) -> Path:
        """An RDB file of now, as a backup job makes it, in a folder from which Redis can start."""
        async with redis.asyncio.Redis.from_url(self.urls.redis) as client:
            await client.save()
        copy = self.folder / "copies" / uuid4().hex
        copy.mkdir(parents=True)
        (self._redis_folder / "dump.rdb").rename(copy / _BASE)
        (copy / "appendonly.aof.manifest").write_text(f"file {_BASE} seq 1 type b\n")
        return copy

    async def roll_back_redis(self, copy: Path) -> None:
        """Kills Redis; what answers at its address next is the copy."""
        self._next_redis = copy
        await self.kill("redis")
        await self.wait_ready("redis")

    async def _start(self, stack: EmbeddedStack, starting: AsyncExitStack) -> None:
        await asyncio.to_thread(stack.open)
        starting.push_async_callback(asyncio.to_thread, stack.stop)
        if stack is self._servers:
            self._rig()
        else:
            self._adapt(stack)
        await asyncio.to_thread(stack.ensure, *_components(stack))

    def _adapt(self, stack: EmbeddedStack) -> None:
        """Gives the processes the testbed's partitions and haste, and each worker a name of its own."""
        number = next((number for number, each in self._more.items() if each is stack), 1)
        for name, component in _components(stack).items():
            env = {
                **component.spec.env,
                "CARTSTREAM_PARTITIONS": str(self.topology.partitions),
                "CARTSTREAM_REDIS_URL": self.urls.redis,
            }
            env |= {**HASTE.get(name, {}), **ROOM.get(name, {}), **self._variables.get(name, {})}
            if self.brokers is not None:
                env["CARTSTREAM_KAFKA_BOOTSTRAP"] = self.brokers.bootstrap
            elif name == "gateway" and number > 1:
                env["CARTSTREAM_KAFKA_BOOTSTRAP"] = f"{HOST}:{self.alone.port}"
            if name != "gateway" and number > 1:
                env["CARTSTREAM_GROUP_INSTANCE_ID"] = f"{name}-{number}"
            component.spec = replace(component.spec, env=env)

    def _rig(self) -> None:
        """Makes the broker advertise the proxies, and Redis start on what `roll_back_redis` has chosen."""
        if self.brokers is None:
            self._rig_kafka(_components(self._servers)[KAFKA])
        if self.replicated is None:
            self._rig_redis(_components(self._servers)[REDIS])

    def _rig_redis(self, server: Component) -> None:
        prepare = server.spec.prepare
        assert prepare is not None
        server.spec = replace(server.spec, prepare=partial(self._prepare_redis, prepare))

    def _rig_kafka(self, kafka: Component) -> None:
        own = [f"{name}://{HOST}:{broker}" for name, (broker, _) in self._listeners.items()]
        advertised = [f"{name}://{HOST}:{proxied}" for name, (_, proxied) in self._listeners.items()]
        protocols = [f"{name}:PLAINTEXT" for name in ("CONTROLLER", *self._listeners)]
        overrides = (
            f"listeners={','.join((*own, f'CONTROLLER://{HOST}:{self._controller}'))}",
            f"advertised.listeners={','.join(advertised)}",
            f"listener.security.protocol.map={','.join(protocols)}",
        )
        options = [option for override in overrides for option in ("--override", override)]
        kafka.spec = replace(kafka.spec, argv=(*kafka.spec.argv, *options))

    async def _prepare_redis(self, prepare: Prepare, preparing: Preparing) -> None:
        await prepare(preparing)
        if self._next_redis is not None:
            shutil.rmtree(self._redis_folder / _AOF)
            shutil.copytree(self._next_redis, self._redis_folder / _AOF)
            self._next_redis = None


def code_of(folder: Path) -> dict[str, str]:
    """The variables of a process that runs the product's code in a folder."""
    # Safe: of the folder in which it runs, which has this code, nothing is imported.
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def _imported_first(folder: Path, **variables: str) -> dict[str, str]:
    """The variables of a process that Python starts with the `sitecustomize.py` of a folder."""
    # The product's own folder too: what is imported comes before Python knows where it runs.
    return {**variables, "PYTHONPATH": os.pathsep.join((str(folder), str(Path.cwd())))}


async def _committed(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> bool:
    """Whether the offsets are committed; not as long as a worker that has gone counts as a member."""
    try:
        await consumer.commit(offsets)
    except CommitFailedError:
        return False
    return True


def _components(stack: EmbeddedStack) -> dict[str, Component]:
    # The stack does not show them, and is right: nobody but this suite rebuilds a running stack's parts.
    return stack._supervisor.components  # noqa: SLF001
