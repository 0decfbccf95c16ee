"""A gateway ends when it is told to, whatever it waits for."""

import signal
from pathlib import Path

from runtime.failstop import EXIT_RESTART
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
