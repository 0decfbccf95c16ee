"""The store on real servers, one suite for both: the stack's Valkey, and Redis where it is installed."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from carts.limits import LIMITS, TIMING, Limits, Timing
from carts.protocol import CartRow, Miss
from carts.state import State
from devstack.free_ports import free_ports
from devstack.settings import REDIS
from store.redis import Absence, CartStore, Layout, PipelinedClient, RedisSettings
from tests.support.processes import Process
from tests.support.servers import Servers

PARTITIONS = 16
RESTORATION = "of-the-fixture"
ABSENCE = Absence(Miss(RESTORATION, 2**52), 0)
"""There is no row of any cart: what a gateway knows that has looked. It never gets too old."""


class RedisServer(Process):
    """A redis-server of the tests' own."""

    def __init__(self, folder: Path, *options: str) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        place = ("--port", str(self.port), "--dir", str(folder), "--bind", "127.0.0.1")
        command = (*place, "--save", "", "--appendonly", "yes", *options)
        super().__init__("redis-server", command, {}, folder, program="redis-server")

    def start(self) -> None:
        """Start it and wait until it answers."""
        if shutil.which("redis-server") is None:
            pytest.skip(
                "the store is NOT tested on Redis: redis-server is missing (apt-get install redis-server)"
            )
        self.launch()
        self.wait_ready()

    def is_ready(self) -> bool:
        """Whether it answers. AssertionError with its log if it has ended."""
        assert not self.has_ended(), self.tail
        with redis.Redis(port=self.port) as probe:
            try:
                return bool(probe.ping())
            except redis.ConnectionError:
                return False


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis 7.0, Debian's, for the whole session."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may kill and start."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session", params=["valkey", "redis"])
def server_url(request: pytest.FixtureRequest) -> str:
    """The address of each server in turn. Tests empty it themselves."""
    if request.param == "valkey":
        servers: Servers = request.getfixturevalue("servers")
        return servers.url(REDIS)
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


_READ_ALL: dict[bytes, Callable[[bytes], tuple[bytes | str | int, ...]]] = {
    b"string": lambda key: ("GET", key),
    b"hash": lambda key: ("HGETALL", key),
    b"zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
    b"stream": lambda key: ("XRANGE", key, "-", "+"),
}


class Rows:
    """The rows that an order or a merge looks into: no cart has one, unless a test says so."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.position = 0
        self.topic_id = ""

    async def look_up(self, cart_id: str) -> CartRow:
        """The row as it is."""
        return CartRow(self.states.get(cart_id), self.position, self.topic_id)


class StoreFixture:
    """A client, a layout and stores on one empty server; every partition is ready."""

    def __init__(self, client: PipelinedClient, layout: Layout) -> None:
        self.client = client
        self.layout = layout
        self.rows = Rows()
        self.store = self.store_with()

    def store_with(self, limits: Limits = LIMITS, timing: Timing = TIMING, **options: Any) -> CartStore:
        """A store with bounds of its own."""
        return CartStore(self.client, self.layout, limits, timing, rows=self.rows, **options)

    async def empty(self) -> None:
        """Forget everything; all partitions are ready then."""
        await self.client.execute("FLUSHALL")
        await asyncio.gather(*(self.make_ready(partition) for partition in range(self.layout.partitions)))

    async def make_ready(self, partition: int) -> None:
        """Set the partition's marker the way a restoration does."""
        await self.store.restore_begin(partition)
        keys = self.layout.of_partition(partition)
        await self.client.execute("DEL", keys.ready)
        await self.client.execute("HSET", keys.restore, "token", RESTORATION)
        assert await self.store.restore_finish(partition, RESTORATION, 0, 0) is None

    async def everything(self) -> dict[bytes, Any]:
        """Every key and its value, to compare before and after; not DUMP, a hash lies in any order."""
        keys = await self.client.execute("KEYS", "*")
        kinds = await self.client.execute_all(("TYPE", key) for key in keys)
        values = await self.client.execute_all(
            _READ_ALL[kind](key) for key, kind in zip(keys, kinds, strict=True)
        )
        return {
            key: dict(zip(value[::2], value[1::2], strict=True)) if kind in {b"hash", b"zset"} else value
            for key, kind, value in zip(keys, kinds, values, strict=True)
        }


@pytest.fixture
async def fixture(server_url: str) -> AsyncIterator[StoreFixture]:
    """An empty server with all partitions ready."""
    async with PipelinedClient(RedisSettings(redis_url=server_url, redis_timeout_s=20)) as client:
        fixture = StoreFixture(client, Layout(PARTITIONS))
        await fixture.empty()
        yield fixture


Play = Callable[[StoreFixture], Any]


@pytest.fixture
def on_empty_server(server_url: str) -> Callable[[Play], None]:
    """Runs a coroutine on an empty server: for property tests, which are not coroutines."""

    async def played(play: Play) -> None:
        async with PipelinedClient(RedisSettings(redis_url=server_url, redis_timeout_s=20)) as client:
            fixture = StoreFixture(client, Layout(PARTITIONS))
            await fixture.empty()
            await play(fixture)

    return lambda play: asyncio.run(played(play))
