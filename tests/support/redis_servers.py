"""Servers of Redis that tests start, kill and put together: single ones, clusters, sentinels."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self

import pytest
import redis

from devstack.free_ports import free_ports
from devstack.valkey import valkey_server
from store.redis import Layout
from tests.support.processes import Process
from tests.support.waiting import until_blocking
from topics.registry import PARTITIONS

SLOTS: Final = 16_384
FIRST_SLOT: Final = Layout(PARTITIONS).slot(0)
"""The slot of the first partition."""
PRIMARIES: Final = 3
SENTINELS: Final = 3
REDIS_7: Final = "redis-server"
"""The program of Debian's Redis 7."""
PROGRAMS: Final = (pytest.param(None, id="valkey"), pytest.param(REDIS_7, id="redis"))
"""Parameters of a fixture that has its servers on the embedded stack's Valkey, then on Redis 7."""
_GIVEN_UP_S: Final = 8.0
_ATTEMPTS: Final = 10
SERVICE: Final = "carts"
HOST: Final = "127.0.0.1"


class RedisServer(Process):
    """A server of the tests' own: redis-server, or the program that is given."""

    def __init__(self, folder: Path, *options: str, program: str = REDIS_7, name: str = "redis") -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://{HOST}:{self.port}/0"
        self._program = program
        folder.mkdir(parents=True, exist_ok=True)
        place = ("--port", str(self.port), "--dir", str(folder), "--bind", HOST)
        command = (*options[:1], *place, *options[1:]) if _is_file(options) else (*place, *_DURABLE, *options)
        super().__init__(name, command, {}, folder, program=program)

    def start(self) -> None:
        """Start it and wait until it answers."""
        if shutil.which(self._program) is None:
            pytest.skip(
                "the store is NOT tested on Redis: redis-server is missing (apt-get install redis-server)"
            )
        self.launch()
        self.wait_ready()

    def is_ready(self) -> bool:
        """Whether it answers. AssertionError with its log if it has ended."""
        assert not self.has_ended(), self.tail
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False

    def ask(self, *command: str | int) -> Any:
        """What it answers to a command."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*command)

    def role(self) -> str:
        """`master` or `slave`."""
        return str(self.ask("INFO", "replication")["role"])


_DURABLE: Final = ("--save", "", "--appendonly", "yes")


def _is_file(options: Sequence[str]) -> bool:
    """Whether the first word is a configuration file, which comes first."""
    return bool(options) and not options[0].startswith("--")


class Replicated(Protocol):
    """Redis as several servers, of which others take over. Each change returns once all of them agree."""

    @property
    def url(self) -> str:
        """For CARTSTREAM_REDIS_URL."""

    def lose_primary(self) -> None:
        """Kill -9 a primary; once it has a successor, start it again: it becomes its replica."""

    def fail_over(self) -> None:
        """Have a replica take over, all being well."""

    def move_slot(self) -> None:
        """Have keys go to another primary, where there is one."""


class ClusterServers:
    """A cluster of three primaries with a replica each; `servers` has the primaries first."""

    def __init__(self, folder: Path, node_timeout_ms: int = 15_000, program: str | None = None) -> None:
        """`node_timeout_ms`: after which a server that does not answer has failed. No `program`: Valkey."""
        self._buses = free_ports(2 * PRIMARIES)
        self.servers = [
            RedisServer(
                folder / f"node-{number}",
                *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                *("--cluster-node-timeout", str(node_timeout_ms), "--repl-diskless-sync-delay", "0"),
                program=program or valkey_server(),
                name=f"node-{number}",
            )
            for number, bus in enumerate(self._buses)
        ]

    @property
    def url(self) -> str:
        """For CARTSTREAM_REDIS_URL."""
        return "redis+cluster://" + ",".join(f"{HOST}:{server.port}" for server in self.servers)

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()

    def _join(self) -> None:
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                server.ask("CLUSTER", "MEET", HOST, first.port, self._buses[0])
        for number, server in enumerate(self.servers[:PRIMARIES]):
            begin, end = number * SLOTS // PRIMARIES, (number + 1) * SLOTS // PRIMARIES - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for server in self.servers:
            until_blocking(partial(self._knows_all, server), f"{server.name} knows the others")
        for number, server in enumerate(self.servers[PRIMARIES:]):
            server.ask("CLUSTER", "REPLICATE", self.servers[number].ask("CLUSTER", "MYID"))
        self.until_settled()

    def _knows_all(self, server: RedisServer) -> bool:
        nodes: list[str] = server.ask("CLUSTER", "NODES").splitlines()
        return len(nodes) == len(self.servers) and not any("handshake" in node for node in nodes)

    def until_settled(self) -> None:
        """Wait until every server that runs is content, and every replica has a copy."""
        for server in self.running:
            until_blocking(partial(_is_settled, server), f"{server.name} is settled")

    @property
    def running(self) -> list[RedisServer]:
        """Those that have not been killed."""
        return [server for server in self.servers if not server.has_ended()]

    def owner_of(self, slot: int) -> RedisServer:
        """The server that has a slot, as one of them knows."""
        for begin, end, (_, port, *_), *_ in self.running[-1].ask("CLUSTER", "SLOTS"):
            if begin <= slot <= end:
                return self.at(port)
        raise AssertionError(f"nobody has slot {slot}")

    def at(self, port: int) -> RedisServer:
        """The server at a port."""
        return next(server for server in self.servers if server.port == port)

    def replica_of(self, primary: RedisServer) -> RedisServer:
        """A replica of it."""
        return next(
            server
            for server in self.running
            if (told := server.ask("INFO", "replication"))["role"] == "slave"
            and told["master_port"] == primary.port
        )

    def lose_primary(self) -> None:
        """Kill the first partition's primary; it comes back as a replica (Replicated)."""
        victim = self.owner_of(FIRST_SLOT)
        victim.kill()
        until_blocking(lambda: self.owner_of(FIRST_SLOT) is not victim, "a successor")
        victim.start()
        until_blocking(lambda: victim.role() == "slave", f"{victim.name} is a replica")
        self.until_settled()

    def fail_over(self) -> None:
        """Have the replica of the first partition's primary take over (Replicated)."""
        old = self.owner_of(FIRST_SLOT)
        self.have_taken_over(self.replica_of(old))
        until_blocking(lambda: old.role() == "slave", f"{old.name} is a replica")
        self.until_settled()

    @staticmethod
    def have_taken_over(replica: RedisServer) -> None:
        """Have a replica take over by hand; it gives up after five seconds, and is asked again then."""
        for _ in range(_ATTEMPTS):
            replica.ask("CLUSTER", "FAILOVER")
            with suppress(AssertionError):
                until_blocking(lambda: replica.role() == "master", "a successor", within_s=_GIVEN_UP_S)
                return
        raise AssertionError(f"{replica.name} has not taken over: {replica.tail}")

    def move_slot(self) -> None:
        """Move the first partition's slot to a primary that does not have it (Replicated)."""
        source = self.owner_of(FIRST_SLOT)
        target = next(each for each in self.running if each is not source and each.role() == "master")
        self.move(FIRST_SLOT, target)
        self.until_settled()

    def move(self, slot: int, target: RedisServer, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Move a slot, its keys one by one, as every version can; `meanwhile` when half of them have gone."""
        source = self.owner_of(slot)
        source_id, target_id = (server.ask("CLUSTER", "MYID") for server in (source, target))
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1_000_000)
        half = len(keys) // 2
        for some in (keys[:half], keys[half:]):
            if some:
                source.ask("MIGRATE", HOST, target.port, "", 0, 60_000, "KEYS", *some)
            meanwhile()
        for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1_000_000):  # made meanwhile
            source.ask("MIGRATE", HOST, target.port, key, 0, 60_000)
        for server in (target, source, *(each for each in self.running if each not in {source, target})):
            if server.role() == "master":
                server.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def _is_settled(server: RedisServer) -> bool:
    told = server.ask("INFO", "replication")
    content = "cluster_state:ok" in server.ask("CLUSTER", "INFO")
    return content and told.get("master_link_status", "up") == "up"


class SentinelServers:
    """A primary, a replica, and three sentinels that watch them."""

    def __init__(self, folder: Path, down_after_ms: int = 30_000, program: str | None = None) -> None:
        """`down_after_ms`: after which a server that does not answer has failed. No `program`: Valkey."""
        self._program: Final = program or valkey_server()
        self.primary, self.replica = (
            RedisServer(folder / name, "--repl-diskless-sync-delay", "0", program=self._program, name=name)
            for name in ("first", "second")
        )
        self._folder = folder
        self._down_after_ms = down_after_ms
        self.sentinels: list[RedisServer] = []

    @property
    def url(self) -> str:
        """For CARTSTREAM_REDIS_URL."""
        return (
            "redis+sentinel://" + ",".join(f"{HOST}:{each.port}" for each in self.sentinels) + f"/{SERVICE}"
        )

    def __enter__(self) -> Self:
        try:
            self.primary.start()
            self.replica.start()
            self.replica.ask("REPLICAOF", HOST, self.primary.port)
            until_blocking(lambda: self._is_copied(self.replica), "the replica has a copy")
            for number in range(SENTINELS):
                self._start_sentinel(f"sentinel-{number}")
            until_blocking(self._know_each_other, "the sentinels know each other and the replica")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (*self.sentinels, self.replica, self.primary):
            server.kill()

    def _start_sentinel(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "sentinel.conf"  # which a sentinel writes to
        conf.write_text(
            f"sentinel monitor {SERVICE} {HOST} {self.primary.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n"
        )
        sentinel = RedisServer(folder, str(conf), "--sentinel", program=self._program, name=name)
        self.sentinels.append(sentinel)
        sentinel.start()

    @staticmethod
    def _is_copied(server: RedisServer) -> bool:
        return bool(server.ask("INFO", "replication").get("master_link_status") == "up")

    def _know_each_other(self) -> bool:
        return all(
            len(each.ask("SENTINEL", "SENTINELS", SERVICE)) == SENTINELS - 1
            and len(each.ask("SENTINEL", "REPLICAS", SERVICE)) == 1
            for each in self.sentinels
        )

    def lose_primary(self) -> None:
        """Kill the master; it comes back as a replica (Replicated)."""
        victim = self._master()
        victim.kill()
        until_blocking(lambda: self._master() is not victim, "another master")
        victim.start()
        self._until_replica(victim)

    def fail_over(self) -> None:
        """Have a sentinel depose the master, all being well (Replicated)."""
        old = self._master()
        until_blocking(self._begins_failover, "a sentinel deposes the master")
        self._until_replica(old)

    def _begins_failover(self) -> bool:
        """Whether a sentinel begins: not before the last failover has ended, and the replica answers it."""
        try:
            self.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE)
        except redis.ResponseError as error:
            if not str(error).startswith(("INPROG", "NOGOODSLAVE")):
                raise
            return False
        return True

    def move_slot(self) -> None:
        """There are no slots (Replicated)."""
        raise NotImplementedError

    def _master(self) -> RedisServer:
        return next(each for each in (self.primary, self.replica) if each.port == self.master_port())

    def _until_replica(self, server: RedisServer) -> None:
        """All sentinels have another master, and the server has a copy of that one's data."""

        def is_so() -> bool:
            masters = {
                int(each.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for each in self.sentinels
            }
            return server.port not in masters and len(masters) == 1 and self._is_copied(server)

        until_blocking(is_so, f"{server.name} is a replica, and has a copy")

    def master_port(self) -> int:
        """What the first sentinel says."""
        return int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


def primaries(url: str) -> list["redis.Redis"]:
    """A client of each server that takes writes."""
    if not url.startswith("redis+"):
        return [redis.Redis.from_url(url)]
    scheme, _, rest = url.partition("://")
    seeds = [seed.split(":") for seed in rest.split("/")[0].split(",")]
    is_cluster = scheme == "redis+cluster"
    question = ("CLUSTER", "SLOTS") if is_cluster else ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
    for host, port in seeds:
        with (
            suppress(redis.ConnectionError),
            redis.Redis(host, int(port), decode_responses=True) as seed,
        ):
            found = seed.execute_command(*question)
            break
    else:
        raise AssertionError(f"nobody answers at {url}")
    if not is_cluster:
        return [redis.Redis(found[0], int(found[1]))]
    places = {(primary[0], primary[1]) for _, _, primary, *_ in found}
    return [redis.Redis(each, int(number)) for each, number in sorted(places)]


def emptied(url: str) -> str:
    """The address, once its servers hold nothing."""
    for client in primaries(url):
        with client:
            client.flushall()
    return url
