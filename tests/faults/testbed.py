"""The whole product on servers of its own, with two gateways and a breakable network before Kafka.

Products and orders are kept here, and there is a catalogue of what tests and clients buy.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import redis.asyncio

from devstack.component import Component
from devstack.embedded import EmbeddedComponent, EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import HOST, StackSettings, Urls
from devstack.spec import Preparing, RestartPolicy, State
from runtime.owners import OrdersOwner, ProductsOwner
from runtime.settings import load
from tests.faults.catalogue import NAMED, OWN, offer
from tests.faults.proxy import NetworkCondition, Proxy
from tests.mail.smtp_server import SmtpServer

GATEWAYS: Final = ("gateway", "gateway-2")
AGENTS: Final = ("compaction", "merges", "sink-postgres", "sink-redis", "jobs", "sink-mail")
PRODUCT: Final = ("topics", "migrate", "gateway", *AGENTS)
SERVERS: Final = ("redis", "kafka", "postgres")
PROCESSES: Final = (*GATEWAYS, *AGENTS)
READY_SECONDS: Final = 90.0
MUTATIONS: Final = Path(__file__).with_name("mutations")
HASTE: Final = {
    "jobs": {
        "CARTSTREAM_SETTLEMENT_PAUSE_S": "0.5",
        "CARTSTREAM_SETTLEMENT_GRACE_S": "1",
        "CARTSTREAM_MERGE_PAUSE_S": "0.5",
        "CARTSTREAM_MERGE_GRACE_S": "2",
        "CARTSTREAM_MERGE_WATCH_PAUSE_S": "2",
    },
    # Longer than a freeze, for a mail that waits is no mail that is lost; the retry is the wait after a kill.
    "sink-mail": {"CARTSTREAM_SMTP_TIMEOUT_S": "15", "CARTSTREAM_MAIL_RETRY_S": "16"},
}
"""What is settled and sent again after a fault, sooner than by default: runs wait for it."""
_MUTATION_VARIABLES: Final = ("CARTSTREAM_TEST_MUTATION", "PYTHONPATH")
_AOF: Final = "appendonlydir"
_BASE: Final = "appendonly.aof.1.base.rdb"
_POLL_SECONDS: Final = 0.05


Prepare = Callable[[Preparing], Awaitable[None]]


class TestbedBroken(Exception):
    """A component did not come back: its log is in the testbed's folder."""


class Testbed:
    """Servers, product and second gateway, each component restarted by its supervisor when it dies.

    Everybody reaches Kafka through `proxy`, for that is the address the broker advertises.
    """

    def __init__(self, folder: Path) -> None:
        self.smtp: Final = SmtpServer()
        broker, proxied, *others = free_ports(7)
        gateway, controller, redis_port, postgres, second = others
        settings = load(StackSettings).model_copy(
            update={
                "products_owner": ProductsOwner.INTERNAL,
                "orders_owner": OrdersOwner.INTERNAL,
                "mailbox_smtp_port": self.smtp.port,
            }
        )
        served = settings.with_ports(gateway, broker, controller, redis_port, postgres)
        seen = served.model_copy(update={"kafka_port": proxied})
        self.folder: Final = folder
        self.proxy: Final = Proxy(proxied, broker)
        self.urls: Final[Urls] = seen.urls
        self.gateways: Final = (seen.urls.gateway, f"http://{HOST}:{second}")
        self._proxied: Final = proxied
        self._servers = EmbeddedStack(folder / "servers", served, policy=RestartPolicy.ALWAYS)
        self._product = EmbeddedStack(folder / "product", seen, PRODUCT, RestartPolicy.ALWAYS)
        self._second = EmbeddedStack(
            folder / "second",
            seen.model_copy(update={"gateway_port": second}),
            ("gateway",),
            RestartPolicy.ALWAYS,
        )
        self._cleanup = AsyncExitStack()
        self._redis_folder: Final = folder / "servers" / "redis"
        self._next_redis: Path | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(self.proxy)
            await self.smtp.open()
            starting.push_async_callback(self.smtp.close)
            await self._start(self._servers, starting)
            await self._start(self._product, starting)
            await self._start(self._second, starting)
            await offer(self.gateways[0], dict.fromkeys((*OWN, *NAMED)))
            self._cleanup = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    def component(self, name: str) -> EmbeddedComponent:
        """A component by name, the second gateway included."""
        if name == GATEWAYS[1]:
            return self._second.component("gateway")
        if name in PRODUCT:
            return self._product.component(name)
        return self._servers.component(name)

    async def kill(self, name: str) -> None:
        """Ends a component with SIGKILL, frozen or not; its supervisor starts it again."""
        await asyncio.to_thread(self.component(name).kill, SIGKILL)

    async def freeze(self, name: str) -> None:
        """Stops a component's clock: connections stay open and nothing answers."""
        await asyncio.to_thread(self.component(name).pause)

    async def thaw(self, name: str) -> None:
        """Lets a frozen component go on; one that is gone needs nothing."""
        component = self.component(name)
        if component.pid is not None:
            await asyncio.to_thread(component.resume)

    async def restart(self, name: str) -> None:
        """Stops a component gently and starts it again."""
        component = self.component(name)
        await asyncio.to_thread(component.stop)
        await asyncio.to_thread(component.start)

    async def mend(self) -> None:
        """Lets everything go on that a scene has left broken."""
        self.proxy.condition = NetworkCondition.NORMAL
        for name in (*SERVERS, *PROCESSES):
            await self.thaw(name)
            await self.wait_ready(name)

    async def mutate(self, name: str, how: str | None) -> None:
        """Restarts a component with one of its functions replaced, or whole again."""
        if name == GATEWAYS[1]:
            component = _components(self._second)["gateway"]
        else:
            component = _components(self._product)[name]
        env = {key: value for key, value in component.spec.env.items() if key not in _MUTATION_VARIABLES}
        if how is not None:
            # The product's own folder too: what is replaced is imported before Python knows where it runs.
            path = os.pathsep.join((str(MUTATIONS), str(Path.cwd())))
            env |= dict(zip(_MUTATION_VARIABLES, (how, path), strict=True))
        component.spec = replace(component.spec, env=env)
        await self.restart(name)

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

    async def flush_redis(self) -> None:
        """Deletes everything in Redis."""
        async with redis.asyncio.Redis.from_url(self.urls.redis) as client:
            await client.flushall()

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
        if stack is self._product:
            for name, env in HASTE.items():
                component = _components(stack)[name]
                component.spec = replace(component.spec, env={**component.spec.env, **env})
        await asyncio.to_thread(stack.ensure, *_components(stack))

    def _rig(self) -> None:
        """Makes the broker advertise the proxy, and Redis start on what `roll_back_redis` has chosen."""
        kafka, redis_server = (_components(self._servers)[name] for name in ("kafka", "redis"))
        advertised = f"advertised.listeners=PLAINTEXT://{HOST}:{self._proxied}"
        kafka.spec = replace(kafka.spec, argv=(*kafka.spec.argv, "--override", advertised))
        prepare = redis_server.spec.prepare
        assert prepare is not None
        redis_server.spec = replace(redis_server.spec, prepare=partial(self._prepare_redis, prepare))

    async def _prepare_redis(self, prepare: Prepare, preparing: Preparing) -> None:
        await prepare(preparing)
        if self._next_redis is not None:
            shutil.rmtree(self._redis_folder / _AOF)
            shutil.copytree(self._next_redis, self._redis_folder / _AOF)
            self._next_redis = None


def _components(stack: EmbeddedStack) -> dict[str, Component]:
    # The stack does not show them, and is right: nobody but this suite rebuilds a running stack's parts.
    return stack._supervisor.components  # noqa: SLF001
