"""Lets tests that are no Python kill and freeze what they run against: each POST to a path does one thing."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def controlled(actions: Mapping[str, Callable[[], object]]) -> Iterator[str]:
    """The URL below which a POST to a name does its action and is answered when that is done."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            action = actions.get(self.path.removeprefix("/"))
            if action is not None:
                action()
            self.send_response(404 if action is None else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="controls", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
