"""The pipelined client when things go wrong: every request ends, and says whether it may have happened."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack.free_ports import free_ports
from runtime.failstop import Misconfigured
from store.redis import (
    Applied,
    CartStore,
    ClusterUnexpected,
    Layout,
    Memory,
    Missing,
    PipelinedClient,
    RedisSettings,
    Replayed,
    Restoring,
    StoreBusy,
    StoredCart,
    StoreUnavailable,
    UnknownOutcome,
)
from store.redis.errors import NotHere, NotPrimary, ScriptMissing, StoreBroken, StoreFull, error_of
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_requests import CART, request
from tests.support.processes import ROOT
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until


def settings_of(server: RedisServer, **options: float) -> RedisSettings:
    """Short waits, so that a test of failure does not take long."""
    return RedisSettings.model_validate({"redis_url": server.url, "redis_connect_timeout_s": 5, **options})


async def connected_again(client: PipelinedClient) -> None:
    """Wait until the client has a connection that answers."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.execute("PING")
            except (StoreUnavailable, UnknownOutcome):
                await asyncio.sleep(0.01)
            else:
                return


async def test_replies_find_their_requests_in_order(fixture: StoreFixture) -> None:
    answers = await asyncio.gather(*(fixture.client.execute("ECHO", f"word-{n}") for n in range(1000)))
    assert answers == [b"word-%d" % n for n in range(1000)]


async def test_what_all_servers_are_asked_fails_with_one_of_them(
    fixture: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fixture.client
    assert await client.of_all(lambda node: node.execute("ECHO", "here")) == [b"here"] * len(client.nodes)
    monkeypatch.setattr(PipelinedClient, "nodes", ["one", "another"])

    async def ask(node: object) -> int:
        if node == "another":
            raise StoreUnavailable("it is away")
        return 7

    assert await client.of_each(ask) == [7]
    with pytest.raises(StoreUnavailable, match="it is away"):
        await client.of_all(ask)


async def test_an_error_reply_reaches_only_its_own_request(fixture: StoreFixture) -> None:
    replies = await asyncio.gather(
        fixture.client.execute("ECHO", "a"),
        fixture.client.execute("HGET", "too", "many", "words"),
        fixture.client.execute("ECHO", "b"),
        return_exceptions=True,
    )
    assert [type(reply) for reply in replies] == [bytes, StoreBroken, bytes]


async def test_a_cancelled_request_does_not_take_the_reply_of_the_next(fixture: StoreFixture) -> None:
    waiting = asyncio.ensure_future(fixture.client.execute("ECHO", "nobody waits"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await fixture.client.execute("ECHO", "somebody waits") == b"somebody waits"


async def test_a_server_that_forgot_the_scripts_is_told_again(fixture: StoreFixture) -> None:
    await fixture.everywhere("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(fixture.store.change(request(op_id=f"op-{n}")) for n in range(5)))
    assert all(isinstance(answer, Applied) for answer in answers)


async def test_a_request_without_a_reply_in_time_has_an_unknown_outcome(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server, redis_timeout_s=0.3)) as client:
        with pytest.raises(UnknownOutcome, match="unknown outcome") as raised:
            await client.execute("BLPOP", "nothing", 30)
        assert raised.value.retriable
        assert not raised.value.outcome_known
        await connected_again(client)


async def test_it_tells_how_long_the_next_reply_is_waited_for(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        assert client.unanswered_s() == 0.0
        waiting = asyncio.create_task(client.execute("BLPOP", "list", 30))
        await until(lambda: client.unanswered_s() > 0.1, "nothing is answered")
        waiting.cancel()


async def test_killed_redis_comes_back_and_an_operation_repeated_is_applied_once(
    own_server: RedisServer,
) -> None:
    async with PipelinedClient(settings_of(own_server, redis_timeout_s=30)) as client:
        store = CartStore(client, Layout(1))
        await StoreFixture(client, Layout(1)).make_ready(0)
        await client.execute("CONFIG", "SET", "appendfsync", "always")
        blocked = asyncio.ensure_future(client.execute("BLPOP", "nothing", 0))
        change = asyncio.ensure_future(store.change(request(op_id="once")))
        await asyncio.sleep(0.05)
        own_server.kill()
        for waiting in (blocked, change):
            with pytest.raises(UnknownOutcome):
                await waiting
        own_server.start()
        await connected_again(client)
        assert isinstance(await store.change(request(op_id="once")), Applied | Replayed)
        assert isinstance(await store.change(request(op_id="once")), Replayed)
        cart = await store.read(CART)
        assert isinstance(cart, StoredCart)
        assert cart.view().lines[0].quantity == 2


async def test_requests_wait_for_a_connection_until_their_time_is_up(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server, redis_timeout_s=0.5)) as client:
        own_server.kill()
        with pytest.raises((StoreUnavailable, UnknownOutcome)):
            await client.execute("PING")
        with pytest.raises(StoreUnavailable, match="no connection to Redis") as raised:
            await client.execute("PING")
        assert raised.value.outcome_known
        own_server.start()
        await connected_again(client)


async def test_without_patience_requests_fail_at_once_while_there_is_no_connection(
    own_server: RedisServer,
) -> None:
    async with PipelinedClient(settings_of(own_server, redis_timeout_s=60), patience_s=0) as client:
        own_server.kill()
        with pytest.raises((StoreUnavailable, UnknownOutcome)):
            await client.execute("PING")
        with pytest.raises(StoreUnavailable, match="no connection to Redis"):
            client.node_of(0).submit(b"*1\r\n$4\r\nPING\r\n")
        own_server.start()
        await connected_again(client)


async def test_a_client_started_before_its_server_connects_later(own_server: RedisServer) -> None:
    own_server.kill()
    client = PipelinedClient(settings_of(own_server), patience_s=0)
    with pytest.raises(StoreUnavailable):
        await client.connect()
    client.keep_connecting()
    own_server.start()
    await connected_again(client)
    await client.close()


async def test_a_bound_on_requests_under_way_refuses_more(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server, redis_max_requests=3)) as client:
        answers = await asyncio.gather(*(client.execute("PING") for _ in range(5)), return_exceptions=True)
        assert [isinstance(answer, StoreBusy) for answer in answers] == [False, False, False, True, True]
        assert await client.execute("PING") == b"PONG"


async def test_a_server_that_became_a_replica_refuses_and_the_client_connects_again(
    own_server: RedisServer,
) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        await client.execute("REPLICAOF", "127.0.0.1", free_ports(1)[0])
        with pytest.raises(NotPrimary):
            await client.execute("SET", "a", "b")
        await connected_again(client)
        await client.execute("REPLICAOF", "NO", "ONE")
        await client.execute("SET", "a", "b")


async def test_nothing_is_read_from_a_server_known_to_be_a_replica(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        store = CartStore(client, Layout(16))
        await client.execute("REPLICAOF", "127.0.0.1", free_ports(1)[0])
        with pytest.raises(NotPrimary):
            await client.execute("SET", "a", "b")
        await connected_again(client)
        with pytest.raises(NotPrimary):
            await store.read(CART)
        await client.execute("REPLICAOF", "NO", "ONE")

        async def is_primary() -> bool:
            return not client.is_replica

        await until(is_primary, "the client knows")
        assert isinstance(await store.read(CART), Restoring)


async def test_a_node_of_a_cluster_is_refused_in_a_sentence(tmp_path: Path) -> None:
    bus, port = free_ports(2)  # without a port of its own the bus has one of somebody else's
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(bus))
    server.start()
    try:
        with pytest.raises(ClusterUnexpected, match="set CARTSTREAM_REDIS_URL") as raised:
            await PipelinedClient(settings_of(server)).connect()
        assert isinstance(raised.value, Misconfigured)
        environment = {**os.environ, "CARTSTREAM_REDIS_URL": server.url}
        environment["CARTSTREAM_GATEWAY_PORT"] = str(port)
        command = (sys.executable, "-m", "cli", "gateway")
        ended = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stderr=PIPE)
        _, said = await ended.communicate()
        assert (ended.returncode, b"belongs to a cluster" in said) == (1, True), said
    finally:
        server.kill()


async def test_nothing_listens_there_says_so_at_once() -> None:
    settings = RedisSettings(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    with pytest.raises(StoreUnavailable, match="no connection to Redis at 127"):
        await PipelinedClient(settings).connect()


async def test_a_wrong_password_is_not_retried(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        await client.execute("CONFIG", "SET", "requirepass", "right")
    url = own_server.url.replace("redis://", "redis://:wrong@")
    with pytest.raises(StoreBroken, match="WRONGPASS"):
        await PipelinedClient(RedisSettings(redis_url=url)).connect()


async def test_a_database_number_and_a_password_are_used(own_server: RedisServer) -> None:
    async with PipelinedClient(settings_of(own_server)) as client:
        await client.execute("CONFIG", "SET", "requirepass", "a secret/word")
    url = own_server.url.replace("redis://", "redis://:a%20secret%2Fword@").replace("/0", "/3")
    async with PipelinedClient(RedisSettings(redis_url=url)) as client:
        await client.execute("SET", f"now-{time.time_ns()}", 1)
        assert b"db3:keys=1" in await client.execute("INFO", "keyspace")


async def test_a_server_that_refuses_info_is_used_all_the_same(own_server: RedisServer) -> None:
    own_server.ask("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-info", "-config")
    url = own_server.url.replace("redis://", "redis://limited:secret@")
    async with PipelinedClient(RedisSettings(redis_url=url)) as client:
        store = CartStore(client, Layout(1))
        await StoreFixture(client, Layout(1)).make_ready(0)
        (facts,) = await store.facts()
        assert (facts.role, facts.maxmemory_policy, facts.aof_enabled) == ("master", None, None)
        assert await store.memories() == [Memory(0, 0)]
        assert isinstance(await store.read(CART), Missing)


async def test_closing_fails_what_is_under_way_and_what_comes_later(own_server: RedisServer) -> None:
    client = PipelinedClient(settings_of(own_server))
    await client.connect()
    blocked = asyncio.ensure_future(client.execute("BLPOP", "nothing", 0))
    await asyncio.sleep(0.01)
    await client.close()
    with pytest.raises(UnknownOutcome):
        await blocked
    with pytest.raises(StoreUnavailable, match="closed"):
        await client.execute("PING")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
        ("READONLY You can't write against a read only replica.", NotPrimary),
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull),
        ("NOSCRIPT No matching script.", ScriptMissing),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreBroken),
        ("MOVED 3999 127.0.0.1:7001", NotHere),
        ("ASK 3999 127.0.0.1:7001", NotHere),
        ("CROSSSLOT Keys in request don't hash to the same slot", NotHere),
        ("ERR unknown command", StoreBroken),
    ],
)
def test_error_replies_are_told_apart_by_their_code(reply: str, expected: type[Exception]) -> None:
    assert type(error_of(reply)) is expected
