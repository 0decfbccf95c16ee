"""A process that waits for Kafka before it begins: SIGTERM ends it at once."""

import signal
import socket
from pathlib import Path

from tests.support.processes import Process
from tests.support.waiting import until_blocking


def test_sigterm_ends_a_process_that_has_not_begun(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        process = Process(
            "compaction",
            ["-m", "cli", "streams", "compaction"],
            {"CARTSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{silent.getsockname()[1]}"},
            tmp_path,
        )
        process.launch()
        try:
            silent.accept()[0].close()
            process.send(signal.SIGTERM)
            until_blocking(process.has_ended, "ended")
            assert process.wait() == 0
        finally:
            process.kill()
