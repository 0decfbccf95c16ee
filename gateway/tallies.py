"""Metrics of what every request does: plain numbers, which the library takes over now and then.

The library locks for each number that it changes, and with several workers writes it into a file, several
times a request.
"""

from bisect import bisect_left
from typing import Any

from prometheus_client import Counter, Histogram


class TalliedCounter(Counter):
    """A counter whose values are those of the last `settle`."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._noted = 0.0

    def inc(self, amount: float = 1, exemplar: Any = None) -> None:  # noqa: ARG002  the library's own
        """Note it."""
        self._noted += amount

    def settle(self) -> None:
        """Take over what was noted since the last time, under all labels."""
        if self._is_parent():  # type: ignore[no-untyped-call]
            children: Any = self._metrics.values()
            for child in children:
                child.settle()
        elif self._noted:
            super().inc(self._noted)
            self._noted = 0.0


class TalliedHistogram(Histogram):
    """A histogram whose values are those of the last `settle`."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._noted = [0] * len(self._upper_bounds)
        self._noted_sum = 0.0

    def observe(self, amount: float, exemplar: Any = None) -> None:  # noqa: ARG002  the library's own
        """Note it."""
        self._noted[bisect_left(self._upper_bounds, amount)] += 1
        self._noted_sum += amount

    def settle(self) -> None:
        """Take over what was noted since the last time, under all labels."""
        if self._is_parent():  # type: ignore[no-untyped-call]
            children: Any = self._metrics.values()
            for child in children:
                child.settle()
        elif any(self._noted):
            for bucket, noted in zip(self._buckets, self._noted, strict=True):
                if noted:
                    bucket.inc(noted)
            self._sum.inc(self._noted_sum)
            self._noted, self._noted_sum = [0] * len(self._upper_bounds), 0.0
