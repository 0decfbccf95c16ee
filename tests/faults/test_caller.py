"""What an attempt came to when the gateway dies under it."""

import asyncio
from pathlib import Path

from tests.faults.caller import NOT_CONNECTED, Caller, client_session
from tests.faults.erasure_records import EraseAttempt
from tests.faults.history import Fail, History, Unknown

ASKED = EraseAttempt(at=0, op=1, attempt=1, client=0, cart_id="guest:a")


async def test_a_request_that_a_gateway_took_before_it_died_is_in_doubt(tmp_path: Path) -> None:
    taken = 0

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        taken += 1
        server.close()
        writer.close()

    server = await asyncio.start_server(gateway, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    with History(tmp_path / "history.jsonl") as history:
        async with client_session() as session:
            caller = Caller(session, [f"http://{host}:{port}"], history)
            assert isinstance(await caller.attempt_erasure(ASKED, 0), Fail)
            assert isinstance(await caller.attempt_erasure(ASKED, 0), Unknown)
    assert taken == 1


async def test_a_request_that_found_nobody_was_not_made(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    with History(tmp_path / "history.jsonl") as history:
        async with client_session() as session:
            result = await Caller(session, [f"http://{host}:{port}"], history).attempt_erasure(ASKED, 0)
    assert isinstance(result, Fail)
    assert result.reason == NOT_CONNECTED
