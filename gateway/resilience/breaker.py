"""Whether it is worth waiting for somebody: after a failure, answer at once until a try succeeds."""

import time
from typing import Final

import structlog
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

PROBE_INTERVAL_S: Final = 1.0


class Breaker:
    """Opens on a failure, closes on a success; while open it lets one try through each second."""

    def __init__(self, gauge: Gauge, *, of: str = "kafka") -> None:
        """`of` names in the log what it is about."""
        self._gauge = gauge
        self._of = of
        self._opened: float | None = None
        self._probed = 0.0
        self._tried = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last word was a failure."""
        return self._opened is not None

    def open_for(self) -> float:
        """Seconds since it opened, 0 while closed."""
        return 0.0 if self._opened is None else time.monotonic() - self._opened

    def untried_for(self) -> float:
        """Seconds since somebody last tried, or failed."""
        return time.monotonic() - self._tried

    def lets_through(self) -> bool:
        """Whether to try now."""
        if self._opened is None:
            return True
        now = time.monotonic()
        if now - self._probed < PROBE_INTERVAL_S:
            return False
        self._probed = self._tried = now
        return True

    def failed(self) -> None:
        """A try failed."""
        self._tried = time.monotonic()
        if self._opened is None:
            self._opened = self._probed = self._tried
            self._gauge.set(1)
            log.warning("breaker.opened", of=self._of)

    def succeeded(self) -> None:
        """A try succeeded."""
        if self._opened is not None:
            log.info("breaker.closed", of=self._of, seconds=round(self.open_for(), 1))
            self._opened = None
            self._gauge.set(0)
