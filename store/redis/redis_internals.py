"""Every private part of redis-py that the project uses, by a public name."""

import asyncio
from typing import Final

from redis.asyncio.connection import AbstractConnection

from runtime.private_parts import PrivatePart

PARTS: Final = (
    PrivatePart(AbstractConnection, "_writer", "send the commands of many requests in one write"),
    PrivatePart(AbstractConnection, "_reader", "take replies as they come, without a task that reads"),
)


def take_stream(connection: AbstractConnection) -> asyncio.StreamWriter:
    """The stream of a connection that redis-py has made and greeted; the connection has none any more.

    redis-py reads one reply for each command that it has sent, so none is left over. Who drops the stream
    closes it. Raises OSError if it is closed already.
    """
    reader, writer = connection._reader, connection._writer  # noqa: SLF001
    connection._writer = connection._reader = None  # noqa: SLF001
    # The end of what the server sends is told once, and whoever takes over would not hear of it.
    if reader is None or writer is None or reader.at_eof() or writer.transport.is_closing():
        raise ConnectionError("the server closed the connection as soon as it was made")
    return writer
