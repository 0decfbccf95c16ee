"""Metrics of what every request does: plain numbers, which the library takes over now and then.

The library locks for each number that it changes, and with several workers writes it into a file, several
times a request.
"""

from bisect import bisect_left
from typing import Any, Final

from prometheus_client import Counter, Histogram

from runtime.private_parts import PrivatePart

PARTS: Final = (
    PrivatePart(Counter, "_metric_init", "begin with nothing noted", ()),
    PrivatePart(Histogram, "_metric_init", "begin with nothing noted", ()),
    PrivatePart(Counter, "_is_parent", "take over what was noted under labels", ()),
    PrivatePart(Histogram, "_metrics", "take over what was noted under labels"),
    PrivatePart(Histogram, "_upper_bounds", "find the bucket of an observation"),
    PrivatePart(Histogram, "_buckets", "take over several observations at once"),
    PrivatePart(Histogram, "_sum", "take over several observations at once"),
)


class TalliedCounter(Counter):
    """A counter whose values are those of the last `settle`."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self.noted = 0.0

    def inc(self, amount: float = 1, exemplar: Any = None) -> None:  # noqa: ARG002  the library's own
        """Note it."""
        self.noted += amount

    def settle(self) -> None:
        """Take over what was noted since the last time, under all labels."""
        if self._is_parent():  # type: ignore[no-untyped-call]
            children: Any = self._metrics.values()
            for child in children:
                child.settle()
        elif self.noted:
            super().inc(self.noted)
            self.noted = 0.0


class TalliedHistogram(Histogram):
    """A histogram whose values are those of the last `settle`."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self.noted = [0] * len(self._upper_bounds)
        self.noted_sum = 0.0

    def observe(self, amount: float, exemplar: Any = None) -> None:  # noqa: ARG002  the library's own
        """Note it."""
        self.noted[bisect_left(self._upper_bounds, amount)] += 1
        self.noted_sum += amount

    def settle(self) -> None:
        """Take over what was noted since the last time, under all labels."""
        if self._is_parent():  # type: ignore[no-untyped-call]
            children: Any = self._metrics.values()
            for child in children:
                child.settle()
        elif any(self.noted):
            for bucket, noted in zip(self._buckets, self.noted, strict=True):
                if noted:
                    bucket.inc(noted)
            self._sum.inc(self.noted_sum)
            self.noted, self.noted_sum = [0] * len(self._upper_bounds), 0.0
