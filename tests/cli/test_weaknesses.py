"""What `cartstream status` says of a gateway that is degraded."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devstack.readiness import weaknesses


@contextmanager
def answering(body: bytes, status: int) -> Iterator[str]:
    """The address of a server that answers everything like that."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"status":"ready","checks":{"redis":{"status":"ok"}}}', 200, []),
        (
            b'{"status":"degraded","checks":{"redis":{"status":"degraded","detail":"it is full"}}}',
            200,
            ["redis: it is full"],
        ),
        (b'{"status":"degraded"}', 200, []),
        (b"<html>", 200, []),
        (b'{"readiness":"not_ready"}', 503, []),
    ],
)
def test_each_check_that_is_not_well_is_named(body: bytes, status: int, said: list[str]) -> None:
    with answering(body, status) as url:
        assert weaknesses(url) == said
