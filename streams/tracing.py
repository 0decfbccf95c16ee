"""Traces through compaction: a run folds many changes into one state of each cart.

Every change that is traced gets a span in its own trace. The state goes on in the trace of the last of them,
whose span links to those of the others.
"""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka import ConsumerRecord

from runtime import tracing
from streams.decisions import Emission
from topics.headers import TRACEPARENT

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from runtime.tracing.opentelemetry import Tracing


class TracedRun:
    """The spans of a run of `cart-changed`, from now until its states are sent."""

    def __init__(self, active: "Tracing", records: Sequence[ConsumerRecord]) -> None:
        self._active: Final = active
        self._records: Final = records
        self._began_ns: Final = time.time_ns()
        self._spans: list[Span] = []

    def emissions(self, emissions: Iterable[Emission]) -> list[Emission]:
        """The emissions, each with the `traceparent` by which it goes on, if any of its changes is traced."""
        spans: dict[bytes, list[Span]] = {}
        for record in self._records:
            if (traceparent := tracing.sampled(record.headers)) is not None:
                of_cart = spans.setdefault(record.key, [])
                of_cart.append(
                    self._active.processing(record, traceparent, len(self._records), self._began_ns)
                )
        self._spans = [span for of_cart in spans.values() for span in of_cart]
        return [self._traced(emission, spans.get(emission.key)) for emission in emissions]

    def end(self) -> None:
        """The states are sent."""
        for span in self._spans:
            span.end()

    def _traced(self, emission: Emission, spans: "Sequence[Span] | None") -> Emission:
        if not spans:
            return emission
        *others, last = spans
        for span in others:
            last.add_link(span.get_span_context())
        header = (TRACEPARENT, self._active.traceparent_of(last).encode())
        return msgspec.structs.replace(emission, headers=[*emission.headers, header])
