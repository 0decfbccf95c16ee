"""A gateway ends when it is told to, whatever it waits for."""

import asyncio
import signal
from pathlib import Path

import pytest

from runtime.failstop import EXIT_RESTART
from tests.gateway.served_app import serving
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls


def test_a_gateway_that_cannot_close_is_ended(urls: Urls, tmp_path: Path) -> None:
    environment = {**urls.environment(), "CARTSTREAM_DRAIN_S": "0", "CARTSTREAM_STOP_S": "0.1"}
    gateway = GatewayProcess(environment, tmp_path, module="tests.gateway.endless_gateway")
    try:
        gateway.start()
        gateway.send(signal.SIGTERM)
        assert gateway.wait() == EXIT_RESTART
    finally:
        gateway.kill()
    assert "process.stop_timed_out" in gateway.tail


async def test_a_request_that_a_client_has_begun_to_send_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as served:
        answers, client = await asyncio.open_connection("127.0.0.1", served.port)
        client.write(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\nGET /second HTTP/1.1\r\n")
        assert (await answers.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        served.server.stop()
        await asyncio.sleep(0.2)  # it looks for idle connections meanwhile
        client.write(b"host: a\r\n\r\n")
        assert (await answers.read()).startswith(b"HTTP/1.1 204")
        client.close()
    assert served.paths == ["first", "second"]
