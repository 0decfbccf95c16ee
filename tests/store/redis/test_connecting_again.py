"""Whatever goes wrong while a connection is made, another one is made: nothing ends in silence."""

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import pytest
from redis.asyncio.cluster import NodesManager

from runtime import event_loop
from store.redis import ChangeSubscriber, Layout, PipelinedClient, StoreUnavailable, home, node
from store.redis.cluster import SlotMap
from store.redis.connection import Connection, open_connection
from store.redis.errors import StoreError
from store.redis.servers import Server, Servers
from tests.store.redis.test_client import connected_again, settings_of
from tests.store.redis.test_subscriber import NAME, Heard
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until

ATTEMPTS = 5000
RESET_AT_ONCE = struct.pack("ii", 1, 0)


class Unforeseen(Exception):
    """Nobody expects it."""


class Failing:
    """Stands in for a function: fails some times as nobody has foreseen, then lets the function do it."""

    def __init__(self, function: Any, times: int = 3) -> None:
        self.function = function
        self.left = times

    async def __call__(self, *args: Any) -> Any:
        """Fail, or do it."""
        if self.left:
            self.left -= 1
            raise Unforeseen("a new kind of failure")
        return await self.function(*args)


@contextmanager
def resetting() -> Iterator[int]:
    """The port of a server that accepts connections and resets them."""

    def reset_all(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=reset_all, args=[listener])
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def failures(port: int) -> Counter[type[BaseException]]:
    servers = Servers.of(f"redis://127.0.0.1:{port}/0")
    found: Counter[type[BaseException]] = Counter()
    for _ in range(ATTEMPTS):
        try:
            await open_connection(servers, servers.seeds[0], Connection(lambda *_: None), 5.0)
        except Exception as error:  # noqa: BLE001  their kinds are looked at
            found[type(error)] += 1
    return found


def test_a_connection_that_is_reset_at_any_moment_is_one_that_redis_does_not_give() -> None:
    with resetting() as port:
        assert event_loop.run(failures(port)) == {StoreUnavailable: ATTEMPTS}


async def test_a_client_connects_again(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        failing = Failing(open_connection)
        monkeypatch.setattr(node, "open_connection", failing)
        own_server.kill()
        own_server.start()
        await connected_again(client)
        assert not failing.left


async def test_why_there_is_no_connection_is_what_went_wrong_last(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PipelinedClient(settings_of(own_server), patience_s=0) as client:
        monkeypatch.setattr(node, "open_connection", Failing(open_connection, times=1_000_000))
        own_server.kill()

        async def is_told() -> bool:
            try:
                await client.execute("PING")
            except StoreUnavailable as error:
                return "a new kind of failure" in str(error)
            except StoreError:
                pass
            return False

        await until(is_told, "the reason is told")


async def test_a_subscriber_connects_again(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(open_connection, times=1)
    monkeypatch.setattr(home, "open_connection", failing)
    heard = Heard()
    subscriber = ChangeSubscriber(settings_of(own_server), Layout(1), name=NAME, patience_s=60)
    subscriber.start(heard)
    subscriber.follow(0)
    await until(partial(heard.has_subscriptions, 1), "subscribed")
    await subscriber.close()
    assert not failing.left


async def test_the_map_of_a_cluster_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[Server | None]] = []

    async def initialize() -> None:
        """As if a server had answered, without a slot."""

    slots = SlotMap(Servers.of("redis+cluster://127.0.0.1:1"), 1.0, found.append)
    failing = Failing(initialize, times=1)
    monkeypatch.setattr(NodesManager, "initialize", failing)
    slots.start()
    slots.look_soon()
    await until(lambda: found, "a map")
    await slots.close()
    assert not failing.left
