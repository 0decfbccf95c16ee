"""Probes and metrics of a process over HTTP, from a thread of its own, which waits for no event loop."""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec
import structlog
from prometheus_client import make_wsgi_app

from runtime.failstop import Misconfigured
from runtime.health import Checks

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = structlog.get_logger(__name__)

LIVE_S: Final = 5.0
"""An event loop that has not turned for so long is not live."""
_IDLE_S: Final = 10.0
"""A client may be silent for so long."""
CLIENTS: Final = 64
"""Connections at once; each has a thread."""


def serve_probes(checks: Checks, host: str, port: int | None) -> str | None:
    """Answer `/health/live`, `/health/ready` and `/metrics` from now on; the address, such as http://h:1.

    To be called where the event loop runs that is watched. Port None takes a free one, port 0 serves nothing
    (None). Raises Misconfigured if the port, or the host, is not to be had.
    """
    if port == 0:
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = _Server(family, (host, port or 0))
    except OSError as error:
        where = f"[{host}]:{port or 0}" if family == socket.AF_INET6 else f"{host}:{port or 0}"
        raise Misconfigured(
            f"CARTSTREAM_METRICS_PORT: {where} cannot be bound ({error.strerror}); stop what listens there, "
            "choose another port, or unset it for a free one; the address is CARTSTREAM_METRICS_HOST"
        ) from error
    server.set_app(_Application(checks, asyncio.get_running_loop()))
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server.url


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        self._free = threading.Semaphore(CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, or not at all."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """A client that goes away, or is silent, is nobody's concern."""
        if not isinstance(error := sys.exception(), OSError):
            log.error("probes.request_failed", client=client_address[0], exc_info=error)

    def server_bind(self) -> None:
        # Not what HTTPServer does: it would ask the DNS for the name of this host.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    @property
    def url(self) -> str:
        host = self.server_name
        return f"http://[{host}]:{self.server_port}" if ":" in host else f"http://{host}:{self.server_port}"


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the interface
        """Nothing: probes come every few seconds."""


class _Application:
    """The routes."""

    def __init__(self, checks: Checks, loop: asyncio.AbstractEventLoop) -> None:
        self._checks = checks
        self._loop = loop
        self._metrics: Final = make_wsgi_app()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        routes: dict[str, Callable[[], tuple[HTTPStatus, object]]] = {
            "/health/live": self._live,
            "/health/ready": self._ready,
        }
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        if path not in routes:
            answer: tuple[HTTPStatus, object] = HTTPStatus.NOT_FOUND, {"paths": [*routes, "/metrics"]}
        elif method not in {"GET", "HEAD"}:
            answer = HTTPStatus.METHOD_NOT_ALLOWED, {"methods": ["GET", "HEAD"]}
        else:
            answer = routes[path]()
        status, document = answer
        body = msgspec.json.encode(document)
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        start_response(f"{status.value} {status.phrase}", [*headers, ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    def _live(self) -> tuple[HTTPStatus, object]:
        """200 as long as the event loop turns."""
        if self._turns():
            return HTTPStatus.OK, {"status": "live"}
        detail = f"the event loop has not turned for {LIVE_S:g} s"
        return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "not_live", "detail": detail}

    def _ready(self) -> tuple[HTTPStatus, object]:
        """200 while the process does its work, else 503; `checks` says why."""
        readiness = self._checks.readiness()
        return HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE, readiness

    def _turns(self) -> bool:
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed
            return False
        return turned.wait(LIVE_S)
