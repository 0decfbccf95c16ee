"""Streams on the loop that processes run on."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from runtime import event_loop


async def written_to_after_its_end(write: Callable[[asyncio.StreamWriter], None]) -> None:
    """Write to a stream whose connection has been lost, as uvloop knows by then."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with contextlib.suppress(OSError):
            await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        write(writer)


@pytest.mark.parametrize(
    "write",
    [lambda writer: writer.write(b"x"), lambda writer: writer.writelines([b"x"])],
    ids=["one", "lines"],
)
def test_who_writes_to_a_lost_connection_is_told_so(write: Callable[[asyncio.StreamWriter], None]) -> None:
    with pytest.raises(ConnectionError, match="closed"):
        event_loop.run(written_to_after_its_end(write))
