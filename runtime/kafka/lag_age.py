"""For how long a partition has had records that its reader has not processed. Pure."""

from collections.abc import Hashable, Iterable
from typing import Final

_MOST: Final = 1000
"""Measurements kept of a partition; of more of them every second one goes, which is exact enough."""


class LagAges:
    """Measurements of the ends of logs: when each was first seen to be as long as that."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, list[tuple[int, float]]] = {}

    def age(self, partition: Hashable, position: int, end: int, now: float) -> float:
        """Seconds since the log was first seen to go beyond `position`; 0.0 if it does not.

        `now` is in seconds of any clock that only advances. What was in the log when it was first measured
        counts from then on.
        """
        ends = self._ends.setdefault(partition, [])
        if end > position and (not ends or end > ends[-1][0]):
            ends.append((end, now))
        done = sum(1 for seen, _ in ends if seen <= position)
        del ends[:done]
        if len(ends) > _MOST:
            del ends[1::2]
        return now - ends[0][1] if ends and end > position else 0.0

    def keep(self, partitions: Iterable[Hashable]) -> None:
        """Forget all others: their next measurement here is their first."""
        kept = set(partitions)
        self._ends = {partition: ends for partition, ends in self._ends.items() if partition in kept}
