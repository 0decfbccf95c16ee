"""How much work a worker takes on at once, and whom it turns away while there is more. Pure.

A worker has one event loop and one connection to Redis: what comes faster than it is done queues there, and
each request waits for all before it. A queue stands if even the shortest wait, over some time, was too long
(as in CoDel, RFC 8289); a burst, or one slow moment, leaves none. Only a queue that stands makes a limit of
requests in flight. The limit then follows the delay: it falls while the queue is longer than it may be, rises
while it is shorter, and goes once nobody has been turned away for a while.
"""

import math
from enum import StrEnum
from typing import Final

PERIOD_S: Final = 0.05
"""How often the limit is adapted: several turns of a busy loop."""
_FREE_PERIODS: Final = 20
"""Without anybody turned away for so long there is no limit any more."""
_DAMPING: Final = 0.25
"""Some of what is in flight waits for others, not in the queue: the delay changes by more than the limit."""
_LEAST_FACTOR: Final = 0.7
_MOST_FACTOR: Final = 1.1
_LEAST_SHARE: Final = 1 / 8
"""Of a crowd: turning thousands away takes time, too, and what is left of it may be good for a few."""


class Priority(StrEnum):
    """What a request is to the shop: the first to be turned away come first."""

    BULK = "bulk"
    """Writes of the catalogue: whoever sends them can wait."""
    WRITE = "write"
    READ = "read"
    """Nobody puts into a cart what is not shown."""
    ALWAYS = "always"
    """Orders, for they are what all else is for; probes and metrics, by which the load is moved elsewhere."""


_SHARE: Final = {Priority.BULK: 0.5, Priority.WRITE: 0.8, Priority.READ: 1.0, Priority.ALWAYS: math.inf}
"""Of the limit, that requests of a priority may fill."""


class Admission:
    """The requests in flight of one worker, and how many there may be."""

    def __init__(self, longest_delay_s: float, crowd: int) -> None:
        """A queue may delay by `longest_delay_s`.

        A limit begins only when more requests than a `crowd` are in flight. It may fall to an eighth of that.
        """
        self._longest_delay_s: Final = longest_delay_s
        self._crowd: Final = crowd
        self.in_flight = 0
        self._most_in_flight = 0
        self.limit = math.inf
        """Of requests in flight; infinite while no queue stands."""
        self._shortest_s = math.inf
        self._delay_before_s = 0.0
        self._turned_away = False
        self._free_periods = 0

    @property
    def is_limited(self) -> bool:
        """Whether anybody may be turned away."""
        return self.limit != math.inf

    def admits(self, priority: Priority) -> bool:
        """Whether there is room for another request of this priority."""
        if self.in_flight < max(self.limit * _SHARE[priority], 1):
            return True
        self._turned_away = True
        return False

    def enter(self) -> None:
        """A request is taken."""
        self.in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight)

    def leave(self) -> None:
        """A request that was taken is answered."""
        self.in_flight -= 1

    def waited(self, seconds: float) -> None:
        """So long Redis, and the loop, have taken to answer."""
        self._shortest_s = min(self._shortest_s, seconds)

    def adapt(self, loop_delay_s: float, unanswered_s: float) -> None:
        """A period is over; the loop was so late to say so.

        `unanswered_s`: how long the next answer of Redis has been waited for.
        """
        # A queue longer than a period: no answer comes in it.
        redis_delay_s = unanswered_s if self._shortest_s == math.inf else self._shortest_s
        delay_s = max(loop_delay_s, redis_delay_s)
        standing_s, self._delay_before_s = min(delay_s, self._delay_before_s), delay_s
        self._shortest_s = math.inf
        # Many begin and end in one turn of the loop, so now there may be few.
        in_flight, self._most_in_flight = self._most_in_flight, self.in_flight
        if self.is_limited:
            self._follow(max(standing_s, 1e-6))
        elif standing_s > self._longest_delay_s and in_flight > self._crowd:
            self.limit = self._at_least(in_flight * self._longest_delay_s / standing_s)
            self._free_periods = 0

    def _follow(self, standing_s: float) -> None:
        self._free_periods = 0 if self._turned_away else self._free_periods + 1
        self._turned_away = False
        if self._free_periods >= _FREE_PERIODS and standing_s < self._longest_delay_s:
            self.limit = math.inf
            return
        factor = (self._longest_delay_s / standing_s) ** _DAMPING
        self.limit = self._at_least(self.limit * min(max(factor, _LEAST_FACTOR), _MOST_FACTOR))

    def _at_least(self, limit: float) -> float:
        return max(limit, self._crowd * _LEAST_SHARE, 1)
