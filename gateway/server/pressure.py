"""Looks again and again how late the event loop is, and adapts what a worker takes on to it."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from gateway.metrics import Metrics
from gateway.server.admission import PERIOD_S, Admission


class Pressure:
    """Adapts an admission while it runs. Belongs to one event loop."""

    def __init__(self, admission: Admission, metrics: Metrics, unanswered_s: Callable[[], float]) -> None:
        """`unanswered_s` tells how many seconds Redis has not answered what it answers next."""
        self._admission: Final = admission
        self._metrics: Final = metrics
        self._unanswered_s: Final = unanswered_s
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Look, from now on."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + PERIOD_S
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._metrics.settle()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        late = asyncio.get_running_loop().time() - self._due
        self.start()  # first: whatever fails below, it is looked again
        self._admission.adapt(max(0.0, late), self._unanswered_s())
        self._metrics.settle()  # those of several workers are read from files
        limit = self._admission.limit
        self._metrics.requests_in_flight.set(self._admission.in_flight)
        self._metrics.requests_limit.set(0 if limit == math.inf else int(limit))
