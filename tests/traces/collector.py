"""A collector of traces for the tests: takes OTLP over HTTP, decodes the protobuf, keeps the spans.

The collector of OpenTelemetry itself is a Go program of hundreds of modules; this one speaks its protocol.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Received(NamedTuple):
    """A span as it arrived; ids in hex, the times in nanoseconds."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    attributes: Mapping[str, str | int]
    links: tuple[str, ...]
    """The traces that it links to."""
    began_ns: int
    ended_ns: int
    is_error: bool


class Collector:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.url = ""
        self._spans: list[Received] = []
        self._lock = threading.Lock()

    def spans(self, trace_id: str | None = None) -> list[Received]:
        """The spans of a trace, or all, in the order of their beginning."""
        with self._lock:
            found = [span for span in self._spans if trace_id in {None, span.trace_id}]
        return sorted(found, key=lambda span: span.began_ns)

    def take(self, content: bytes) -> None:
        """Keep the spans of an export."""
        request = ExportTraceServiceRequest.FromString(content)
        for resource in request.resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            with self._lock:
                self._spans += [_received(said["service.name"], span) for span in spans]


def shown(spans: list[Received]) -> str:
    """A trace as a tree, a line each span: service, name, milliseconds since its beginning, and how long."""
    began = min(span.began_ns for span in spans)
    ids = {span.span_id for span in spans}

    def lines(parent: str | None, depth: int) -> Iterator[str]:
        for span in spans:
            if span.parent_id == parent if parent is not None else span.parent_id not in ids:
                where = " ".join(
                    f"{name.rpartition('.')[2]}={value}"
                    for name, value in span.attributes.items()
                    if name.endswith((".status_code", "partition.id", "kafka.offset", "publisher"))
                )
                at, took = (span.began_ns - began) / 1e6, (span.ended_ns - span.began_ns) / 1e6
                times = f"{at:8.1f} ms {took:7.1f} ms"
                yield f"{times}  {'  ' * depth}{span.service}: {span.name} {where}".rstrip()
                yield from lines(span.span_id, depth + 1)

    return "\n".join([f"trace {spans[0].trace_id}", *lines(None, 0)])


def _received(service: str, span: Span) -> Received:
    return Received(
        service,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        {
            each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
            for each in span.attributes
        },
        tuple(link.trace_id.hex() for link in span.links),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
    )


@contextmanager
def running() -> Iterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces", self.path
            assert self.headers["content-type"] == "application/x-protobuf"
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
