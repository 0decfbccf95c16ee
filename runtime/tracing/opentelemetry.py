"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP. Imported only where there are traces.

No span names a cart, a user or an address: traces are kept by other people than carts. A record is named by
topic, partition and offset.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.tracing import Record, sampled

Attributes = Mapping[str, str | int]

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_SERVER_ERRORS: Final = 500


class Tracing:
    """Makes the spans of one process."""

    def __init__(self, process: str, exporter: SpanExporter | None = None) -> None:
        """`process` is the service's name, unless OTEL_SERVICE_NAME is set; by default spans go over OTLP."""
        name = os.environ.get("OTEL_SERVICE_NAME") or process
        # Its sampler is that of OTEL_TRACES_SAMPLER. Without one the caller decides; without a caller: all.
        self._provider: Final = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer: Final = self._provider.get_tracer("cartstream")

    @staticmethod
    def traceparent_of(span: Span) -> str:
        """The `traceparent` by which others go on from this span."""
        found = span.get_span_context()
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    def current_traceparent(self) -> str | None:
        """The `traceparent` of the span that the work here belongs to; None where there is none."""
        span = trace.get_current_span()
        return self.traceparent_of(span) if span.get_span_context().is_valid else None

    @staticmethod
    def current_ids() -> dict[str, str]:
        """Trace and span that the work here belongs to, for its log; empty where there are none."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return {}
        return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}

    def stop(self) -> None:
        """Send what is still to be sent."""
        self._provider.shutdown()

    @contextmanager
    def request(self, method: str, route: str, traceparent: str | None) -> Iterator["RequestSpan"]:
        """The span of an HTTP request, as part of the caller's trace if it names one."""
        span = self._tracer.start_span(
            f"{method} {route}",
            _context_of(traceparent),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": route},
        )
        # Nothing is recorded of an exception by itself: its text may hold what is nobody else's.
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield RequestSpan(span)

    def sent(self, topic: str, traceparent: str, attributes: Attributes) -> str:
        """Note that a record is made for `topic`; the `traceparent` that it carries."""
        span = self._tracer.start_span(
            f"create {topic}",
            _context_of(traceparent),
            SpanKind.PRODUCER,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "create",
                "messaging.destination.name": topic,
                **attributes,
            },
        )
        span.end()
        return self.traceparent_of(span)

    def processing(self, record: Record, traceparent: str, together: int, began_ns: int) -> Span:
        """The span of the work on a record, one of `together` many; whoever began it ends it."""
        return self._tracer.start_span(
            f"process {record.topic}",
            _context_of(traceparent),
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.batch.message_count": together,
            },
            start_time=began_ns,
        )

    @contextmanager
    def batch(self, records: Sequence[Record]) -> Iterator[None]:
        """Spans of those of the records that are traced, as long as all of them are worked on."""
        began_ns = time.time_ns()
        traced = [(record, sampled(record.headers)) for record in records]
        spans = [
            self.processing(record, traceparent, len(records), began_ns)
            for record, traceparent in traced
            if traceparent is not None
        ]
        try:
            with (
                trace.use_span(spans[0], record_exception=False, set_status_on_exception=False)
                if spans
                else nullcontext()
            ):
                yield
        except Exception as error:
            for span in spans:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            for span in spans:
                span.end()


class RequestSpan:
    """The span of a request that is being answered."""

    def __init__(self, span: Span) -> None:
        self._span: Final = span

    def answered(self, status: int, problem: str | None = None) -> None:
        """Note the reply: its status and the type of its problem, if it is one."""
        self._span.set_attribute("http.response.status_code", status)
        if problem is not None:
            self._span.set_attribute("error.type", problem)
        if status >= _SERVER_ERRORS:
            self._span.set_status(Status(StatusCode.ERROR))


def _context_of(traceparent: str | None) -> Context | None:
    """Without a `traceparent` that can be read: that of the work here."""
    return None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent})
