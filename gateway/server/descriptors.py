"""File descriptors: each connection takes one, and without them clients wait for an answer in vain."""

import resource
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RESERVED: Final = 256
"""For Redis, Kafka, Postgres, logs, and for connections that are refused."""


def room_for(connections: int) -> int:
    """Raise the soft limit for so many connections; how many of them the hard limit has room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    room = max(1, wanted - RESERVED)
    if room < connections:
        log.warning(
            "gateway.too_few_descriptors",
            limit=hard,
            connections=room,
            instead=f"allow {connections + RESERVED} open files (ulimit -Hn, LimitNOFILE), "
            f"or set CARTSTREAM_CONNECTIONS_MAX={room}",
        )
    return min(room, connections)
