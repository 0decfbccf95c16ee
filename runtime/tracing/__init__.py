"""Traces of requests and records, in one place: off unless `CARTSTREAM_TRACES` is true.

Off, nothing of OpenTelemetry is imported, and whoever would begin a span looks at `active` once. On, `active`
is the object that everybody asks. Exporter, sampler and resource are set by OpenTelemetry's own variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import Field

from runtime.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from runtime.tracing.opentelemetry import Tracing

TRACEPARENT: Final = "traceparent"
"""The header of W3C Trace Context, in HTTP and in Kafka."""

active: Tracing | None = None
"""What makes the spans of this process; None: it makes none."""


class TracingSettings(Settings):
    """Whether there are traces, from `CARTSTREAM_TRACES`."""

    traces: bool = Field(
        default=False,
        description="send [traces](../how-to/trace.md) over OTLP; needs the extra `cartstream[traces]`. "
        "OpenTelemetry's own `OTEL_*` variables say where they go, and how many are kept",
    )


class Record(Protocol):
    """A record as a consumer gets it."""

    topic: str
    partition: int
    offset: int
    headers: Iterable[tuple[str, bytes]]


def start(process: str) -> None:
    """Begin to trace, if the environment asks for it. Raises SettingsError, also without the libraries."""
    global active  # noqa: PLW0603 - one a process, and a look at it must cost nothing
    if not load(TracingSettings).traces or active is not None:
        return
    try:
        from runtime.tracing.opentelemetry import Tracing  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"CARTSTREAM_TRACES is true, but {error.name} is not installed: install cartstream[traces]"
        ) from error
    active = Tracing(process)


def stop() -> None:
    """Send what is still to be sent."""
    global active  # noqa: PLW0603
    if active is not None:
        active.stop()
        active = None


def batch(records: Sequence[Record]) -> AbstractContextManager[None]:
    """The work on these records, as a part of the traces of those that have one."""
    return nullcontext() if active is None else active.batch(records)


def sampled(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """The `traceparent` in the headers of a record whose trace is recorded; None otherwise."""
    for name, value in headers:
        if name == TRACEPARENT:
            # The lowest bit of the flags, which end it.
            return value.decode(errors="replace") if value and value[-1] in b"13579bdf" else None
    return None
