"""The store on real servers, one suite for all: the stack's Valkey, and Redis where it is installed.

With `-m cluster` the same on a cluster, and on what sentinels call master: of Valkey, and of Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from carts.limits import LIMITS, TIMING, Limits, Timing
from carts.protocol import CartRow, Miss
from carts.state import State
from devstack.settings import REDIS
from store.redis import Absence, CartStore, Layout, PipelinedClient, RedisSettings
from tests.support.redis_servers import REDIS_7, ClusterServers, RedisServer, SentinelServers
from tests.support.servers import Servers

PARTITIONS = 16
RESTORATION = "of-the-fixture"
ABSENCE = Absence(Miss(RESTORATION, 2**52), 0)
"""There is no row of any cart: what a gateway knows that has looked. It never gets too old."""


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


@pytest.fixture(
    scope="session",
    params=[
        "valkey",
        "redis",
        pytest.param("cluster", marks=pytest.mark.cluster),
        pytest.param("sentinel", marks=pytest.mark.cluster),
        pytest.param("redis-cluster", marks=pytest.mark.cluster),
        pytest.param("redis-sentinel", marks=pytest.mark.cluster),
    ],
)
def server_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of each server in turn, or of several. Tests empty it themselves."""
    folder = partial(tmp_path_factory.mktemp, request.param)
    with ExitStack() as cleanup:
        match request.param:
            case "valkey":
                servers: Servers = request.getfixturevalue("servers")
                yield servers.url(REDIS)
            case "redis":
                server: RedisServer = request.getfixturevalue("redis_server")
                yield server.url
            case "cluster":
                yield cleanup.enter_context(ClusterServers(folder())).url
            case "sentinel":
                yield cleanup.enter_context(SentinelServers(folder())).url
            case "redis-cluster":
                yield cleanup.enter_context(ClusterServers(folder(), program=REDIS_7)).url
            case "redis-sentinel":
                yield cleanup.enter_context(SentinelServers(folder(), program=REDIS_7)).url


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

    async def everywhere(self, *command: str | int) -> list[Any]:
        """What each server answers to a command."""
        return await self.client.ask_each(*command)

    async def keys(self, pattern: str = "*") -> list[bytes]:
        """All keys of that form."""
        return [key for found in await self.everywhere("KEYS", pattern) for key in found]

    async def empty(self) -> None:
        """Forget everything; all partitions are ready then."""
        await self.everywhere("FLUSHALL")
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
        keys = await self.keys()
        kinds = await self.client.execute_all(("TYPE", key) for key in keys)
        values = await self.client.execute_all(
            _READ_ALL[kind](key) for key, kind in zip(keys, kinds, strict=True)
        )
        return {
            key: dict(value) if kind == b"zset" else value
            for key, kind, value in zip(keys, kinds, values, strict=True)
        }


@pytest.fixture
async def fixture(server_url: str) -> AsyncIterator[StoreFixture]:
    """An empty server with all partitions ready."""
    async with PipelinedClient(
        RedisSettings(redis_url=server_url, redis_timeout_s=20, redis_connect_timeout_s=20)
    ) as client:
        fixture = StoreFixture(client, Layout(PARTITIONS))
        await fixture.empty()
        yield fixture


Play = Callable[[StoreFixture], Any]


@pytest.fixture
def on_empty_server(server_url: str) -> Callable[[Play], None]:
    """Runs a coroutine on an empty server: for property tests, which are not coroutines."""

    async def played(play: Play) -> None:
        async with PipelinedClient(
            RedisSettings(redis_url=server_url, redis_timeout_s=20, redis_connect_timeout_s=20)
        ) as client:
            fixture = StoreFixture(client, Layout(PARTITIONS))
            await fixture.empty()
            await play(fixture)

    return lambda play: asyncio.run(played(play))
