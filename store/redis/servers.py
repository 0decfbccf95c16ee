"""Where Redis is, and how a connection to it is made: what CARTSTREAM_REDIS_URL says.

redis-py makes the connections: names and addresses, TLS with client certificates, credentials, the protocol's
version. What a URL may ask for is what redis-py takes.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from store.redis.errors import ClusterUnexpected, StoreBroken, StoreError, StoreUnavailable, error_of

RESP_VERSION: Final = 3
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26_379
_OF_SENTINELS: Final = "sentinel_"
_TLS: Final = "rediss"
_REFUSED: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class Topology(StrEnum):
    """Who has the keys."""

    SINGLE = "single"
    """One server, which may become a replica of another one."""
    SENTINEL = "sentinel"
    """The one server that the sentinels call master."""
    CLUSTER = "cluster"
    """Several servers, each with its slots."""


class Server(msgspec.Struct, frozen=True):
    """A server by host and port, or by the path of its socket."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def of(cls, text: str, port: int) -> Self:
        """`host`, `host:port` or `[IPv6]:port`. Raises ValueError."""
        parts = urlsplit(f"//{text}")
        if not parts.hostname:
            raise ValueError(f"{text!r} is no host:port")
        return cls(unquote(parts.hostname), parts.port or port)

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says. `seeds`: the server, the sentinels, or some servers of the cluster."""

    topology: Topology
    seeds: tuple[Server, ...]
    service: str = ""
    """The name that sentinels know the master by."""
    connection_class: type[AbstractConnection]
    options: dict[str, Any]
    """redis-py's, for a connection to a server."""
    sentinel_options: dict[str, Any]
    """The same for a sentinel."""

    @classmethod
    def of(cls, url: str) -> Self:
        """The servers behind a URL. Raises ValueError for one that says nothing to redis-py.

        * `redis://[user:password@]host[:port][/database]`, `rediss://…` (TLS), `unix://[…@]/path[?db=n]`
        * `redis+sentinel://[…@]host[:port],…/master[/database]`, `rediss+sentinel://…`
        * `redis+cluster://[…@]host[:port],…`, `rediss+cluster://…`

        Each with redis-py's options of a connection after a question mark, such as `ssl_ca_certs`,
        `ssl_certfile` and `ssl_keyfile`; those for sentinels that differ as `sentinel_password` and so on.
        """
        parts = urlsplit(url)
        scheme, _, topology = parts.scheme.partition("+")
        if scheme == "unix":
            options = parse_url(url)
            maker = options.pop("connection_class")
            path = options.pop("path", "")
            return cls(
                topology=Topology.SINGLE,
                seeds=(Server("", 0, path),),
                connection_class=maker,
                options={"path": path, **options},
                sentinel_options={},
            )
        query = dict(parse_qsl(parts.query))
        for_sentinels = {
            name.removeprefix(_OF_SENTINELS): query.pop(name)
            for name in [*query]
            if name.startswith(_OF_SENTINELS)
        }
        who, _, hosts = parts.netloc.rpartition("@")
        names = [name for name in parts.path.split("/") if name]
        service = ""
        port = _PORT
        if topology == Topology.SENTINEL:
            if not names:
                raise ValueError("it names no master: redis+sentinel://sentinel-1,sentinel-2/mymaster")
            service, port = unquote(names.pop(0)), _SENTINEL_PORT
        database = names.pop(0) if names else "0"
        if names or not database.isdigit():
            raise ValueError(f"{parts.path!r} is no database: a number such as /0")
        if topology == Topology.CLUSTER and database != "0":
            raise ValueError("a cluster has database 0 only")
        seeds = (
            tuple(Server.of(host, port) for host in hosts.split(","))
            if hosts
            else (Server("127.0.0.1", port),)
        )
        if len(seeds) > 1 and not topology:
            raise ValueError(
                "several servers are a cluster or sentinels: redis+cluster:// or redis+sentinel://"
            )
        options = parse_url(f"{scheme}://{who}@localhost/{database}?{urlencode(query)}")
        maker = options.pop("connection_class", Connection)
        del options["host"]
        secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
        found = cls(
            topology=Topology(topology or Topology.SINGLE),
            seeds=seeds,
            service=service,
            connection_class=maker,
            options=dict(options),
            sentinel_options=secure | for_sentinels | ({"ssl": True} if scheme == _TLS else {}),
        )
        found.connection(seeds[0])
        return found

    def __str__(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        return f"{self.service} of {seeds}" if self.service else seeds

    def connection(self, server: Server, timeout_s: float = 1.0) -> AbstractConnection:
        """A connection of redis-py's, not made yet. Raises ValueError for options that it does not take."""
        place = {} if server.path else {"host": server.host, "port": server.port}
        options = {
            "protocol": RESP_VERSION,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "driver_info": None,  # its name would cost a round trip
        }
        try:
            return self.connection_class(**(options | self.options | place))
        except (TypeError, RedisError) as error:
            raise ValueError(str(error)) from None

    def sentinels(self, timeout_s: float) -> Sentinel:
        """redis-py's view of the sentinels."""
        # Whoever asks asks again; meanwhile another sentinel may know.
        once = {"retry": Retry(NoBackoff(), 0)}
        options = (
            {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s} | once | self.sentinel_options
        )
        return Sentinel(  # type: ignore[no-untyped-call]
            [(each.host, each.port) for each in self.seeds], sentinel_kwargs=options
        )

    def nodes(self, timeout_s: float) -> NodesManager:
        """redis-py's view of the cluster."""
        options = {
            "connection_class": self.connection_class,
            "protocol": RESP_VERSION,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            **self.options,
        }
        options.pop("db", None)
        return NodesManager(
            [ClusterNode(each.host, each.port, **options) for each in self.seeds],
            require_full_coverage=False,
            connection_kwargs=options,
            # The seeds of a URL may be one name for all servers: it stays good when their addresses change.
            dynamic_startup_nodes=False,
        )


Locate = Callable[[], Awaitable[Server]]
"""Where the server is now. Raises StoreError."""


def locator(servers: Servers, server: Server, timeout_s: float) -> Locate:
    """Finds the one server that is meant: the sentinels' master, else this one."""
    if servers.topology is Topology.SENTINEL:
        return partial(master_of, servers.sentinels(timeout_s), servers.service)

    async def locate() -> Server:
        return server

    return locate


async def master_of(sentinels: Sentinel, service: str) -> Server:
    """The server that a sentinel calls master. Raises StoreError."""
    with redis_errors():
        try:
            host, port = await sentinels.discover_master(service)
        except MasterNotFoundError as error:
            raise StoreUnavailable(str(error)) from error
    return Server(host, port)


@contextmanager
def redis_errors() -> Iterator[None]:
    """What redis-py raises as the store's errors."""
    try:
        yield
    except RedisClusterException as error:
        # The last server's answer, for others may have answered before; one without a cluster says so itself.
        if isinstance(error.__cause__, RedisClusterException):
            raise ClusterUnexpected(
                "Redis belongs to no cluster: CARTSTREAM_REDIS_URL begins with redis+cluster:// and should "
                "begin with redis://"
            ) from error
        if isinstance(error.__cause__, _REFUSED):
            raise StoreBroken(_said(error.__cause__)) from error
        raise StoreUnavailable(str(error)) from error
    except _REFUSED as error:
        raise StoreBroken(_said(error)) from error
    except ResponseError as error:
        raise error_of(_said(error)) from error
    except StoreError:
        raise
    except (RedisError, OSError) as error:
        raise StoreUnavailable(str(error)) from error


def _said(error: RedisError) -> str:
    """What the server said, its code included."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)
