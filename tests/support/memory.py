"""Redis with little memory left, for as long as a context lasts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis

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
    """Redis uses this share of its `maxmemory`; afterwards it has no bound."""
    with redis.Redis.from_url(redis_url) as client:
        client.setrange(_BALLAST, _BALLAST_BYTES, b"x")
        client.config_set("maxmemory", int(used_memory(client) / share))
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)
            client.delete(_BALLAST)


@contextmanager
def bounded(redis_url: str, more: int) -> Iterator[None]:
    """Redis takes so many bytes more than it has; afterwards it has no bound."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", used_memory(client) + more)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


def used_memory(client: "redis.Redis") -> int:
    """What counts against `maxmemory`, once the server has given back what was deleted before.

    FLUSHALL answers at once and frees in the background: a bound taken meanwhile is too high.
    """
    while (info := client.info("memory"))["lazyfree_pending_objects"]:
        time.sleep(0.01)
    return int(info["used_memory"]) - int(info["mem_not_counted_for_evict"])
