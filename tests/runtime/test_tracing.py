"""Traces are off unless they are asked for, cost nothing then, and a fold links what it takes in."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.http.tracing import traced
from gateway.identity.access import Access
from runtime import tracing
from runtime.logs import name_trace
from runtime.settings import SettingsError
from runtime.tracing.opentelemetry import Tracing
from streams.decisions import Emission
from streams.tracing import TracedRun

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = "00-11112222333344445555666677778888-00f067aa0ba902b7-00"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans go while there are traces."""
    found = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "active", Tracing("test", found))
    yield found
    tracing.stop()


def test_without_traces_the_code_that_uses_opentelemetry_is_not_loaded() -> None:
    # Of OpenTelemetry itself redis-py imports some, where it is installed.
    program = (
        "import sys, gateway.app, streams.compaction, sinks.postgres.app; from runtime import tracing; "
        "tracing.start('x'); print([name for name in sys.modules if name.startswith(('runtime.tracing.', "
        "'opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_traces_a_handler_is_left_as_it_is() -> None:
    async def handler() -> None:
        """Do nothing."""

    assert traced("/v1/carts/{cart_id}", Access.CART, handler) is handler


def test_traces_without_the_libraries_stop_the_start_and_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARTSTREAM_TRACES", "true")
    monkeypatch.delitem(sys.modules, "runtime.tracing.opentelemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"install cartstream\[traces\]"):
        tracing.start("test")
    assert tracing.active is None


@pytest.mark.parametrize(
    ("traceparent", "found"), [(TRACE, TRACE), (NOT_SAMPLED, None), ("", None), ("\udcff", None)]
)
def test_a_record_is_traced_if_its_header_says_so(traceparent: str, found: str | None) -> None:
    headers = [("ce_id", b"1"), ("traceparent", traceparent.encode(errors="surrogateescape"))]
    assert tracing.sampled(headers) == found
    assert tracing.sampled(headers[:1]) is None


def test_a_state_goes_on_in_the_trace_of_its_last_change_and_links_to_the_others(
    exporter: InMemorySpanExporter,
) -> None:
    assert tracing.active is not None
    records = [
        record(offset, key, traceparent)
        for offset, (key, traceparent) in enumerate(
            [(b"user:1", TRACE), (b"user:2", None), (b"user:1", NOT_SAMPLED), (b"user:1", OTHER)]
        )
    ]
    run = TracedRun(tracing.active, records)
    first, second = run.emissions([Emission(b"user:1", b"{}", []), Emission(b"user:2", b"{}", [])])
    run.end()
    tracing.stop()
    of_trace, of_other = exporter.get_finished_spans()
    assert (of_trace.links, [link.context.trace_id for link in of_other.links]) == (
        (),
        [of_trace.context.trace_id],
    )
    assert f"{of_other.context.span_id:016x}" in dict(first.headers)["traceparent"].decode()
    assert dict(first.headers)["traceparent"].decode().split("-")[1] == OTHER.split("-")[1]
    assert second.headers == []


def test_the_sampler_decides_only_where_no_caller_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    exporter = InMemorySpanExporter()
    active = Tracing("test", exporter)
    for traceparent in (None, NOT_SAMPLED, TRACE):
        with active.request("GET", "/v1/carts/{cart_id}", traceparent):
            assert str(active.current_traceparent()).endswith("-01") is (traceparent is TRACE)
    active.stop()
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE.split("-")[1]


def test_a_batch_that_fails_says_so_in_every_trace(exporter: InMemorySpanExporter) -> None:
    records = [record(1, b"user:1", TRACE), record(2, b"user:2", OTHER), record(3, b"user:3", None)]
    with pytest.raises(TimeoutError, match="away"), tracing.batch(records):
        raise TimeoutError("away")
    tracing.stop()
    spans = exporter.get_finished_spans()
    assert {(span.attributes or {})["error.type"] for span in spans} == {"TimeoutError"}
    assert len(spans) == 2
    assert all(span.events == () for span in spans)


def test_an_event_of_the_log_names_the_trace_it_belongs_to(exporter: InMemorySpanExporter) -> None:
    assert tracing.active is not None
    assert name_trace(None, "", {"event": "x"}) == {"event": "x"}
    with tracing.active.request("GET", "/v1/carts/{cart_id}", TRACE):
        event = name_trace(None, "", {"event": "x"})
    assert (event["trace_id"], len(event["span_id"])) == (TRACE.split("-")[1], 16)
    assert exporter is not None


def record(offset: int, key: bytes, traceparent: str | None) -> SimpleNamespace:
    headers = [] if traceparent is None else [("traceparent", traceparent.encode())]
    return SimpleNamespace(topic="cart-changed", partition=3, offset=offset, key=key, headers=headers)
