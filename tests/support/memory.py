"""Redis with little memory left, for as long as a context lasts."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Final

import redis
from redis.exceptions import MovedError

from tests.support.redis_servers import primaries

RESERVE: Final = 0.97
"""More than a gateway may use, less than Redis takes."""
BEYOND: Final = 1.05
"""Redis has more than it takes: the reserve is used up, too."""
FAR_BEYOND: Final = 1.2
"""So much more that not even what is to be emptied is brought in."""

_BALLAST: Final = "ballast"
_BALLAST_BYTES: Final = 8_000_000
"""So much that buffers of connections do not matter."""


@contextmanager
def filled(redis_url: str, share: float) -> Iterator[None]:
    """Redis, each of its servers, uses this share of its `maxmemory`; afterwards it has no bound."""
    with ExitStack() as servers:
        for client in primaries(redis_url):
            servers.enter_context(_filled(client, share))
        yield


@contextmanager
def _filled(client: "redis.Redis", share: float) -> Iterator[None]:
    with client:
        ballast = _put_ballast(client)
        client.config_set("maxmemory", int(used_memory(client) / share))
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)
            client.delete(ballast)


def _put_ballast(client: "redis.Redis") -> str:
    """The key of much that the server has now: of a cluster it takes but its own keys."""
    for number in count():
        with suppress(MovedError):
            client.setrange(ballast := f"{_BALLAST}-{number}", _BALLAST_BYTES, b"x")
            return ballast
    raise AssertionError


@contextmanager
def bounded(redis_url: str, more: int) -> Iterator[None]:
    """Redis, each of its servers, takes so many bytes more than it has; afterwards it has no bound."""
    clients = primaries(redis_url)
    for client in clients:
        client.config_set("maxmemory", used_memory(client) + more)
    try:
        yield
    finally:
        for client in clients:
            client.config_set("maxmemory", 0)
            client.close()


def used_memory(client: "redis.Redis") -> int:
    """What counts against `maxmemory`, once the server has given back what was deleted before.

    FLUSHALL answers at once and frees in the background: a bound taken meanwhile is too high.
    """
    while (info := client.info("memory"))["lazyfree_pending_objects"]:
        time.sleep(0.01)
    return int(info["used_memory"]) - int(info["mem_not_counted_for_evict"])
