"""Limits the rate of many subjects: each gateway decides by itself, and tells Redis of what was taken later.

No request waits for Redis. A subject's use is added to that at other gateways once it is a sixteenth of its
quota, so most subjects never get to Redis, and all gateways together allow a sixteenth too much for each of
them. If Redis does not answer, each goes on with what it has counted itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from gateway.rates.policy import Policy, Taken, charge, take
from store.redis import StoreError

_SUBJECTS: Final = 32_768
"""That are remembered; of more, those that have not come for longest are forgotten."""
_PAUSE_S: Final = 1.0
"""Redis has failed: it is left alone for so long."""


class Shared(Protocol):
    """What all gateways know."""

    async def add(self, policy: str, subject: str, taken_s: float, window_s: float) -> float:
        """Add to a subject's backlog; the backlog of all gateways then. Raises StoreError."""
        ...


class _Use(msgspec.Struct):
    """When a subject's backlog is over, the units others do not know of, and whether they are told now."""

    over_at: float = 0.0
    untold: int = 0
    is_told: bool = False


class RateLimiter:
    """The subjects of one policy. Belongs to one event loop."""

    def __init__(self, policy: Policy, shared: Shared, clock: Callable[[], float] = time.monotonic) -> None:
        self.policy: Final = policy
        self._shared: Final = shared
        self._clock: Final = clock
        self._uses: Final[dict[str, _Use]] = {}
        self._telling: Final[set[asyncio.Task[None]]] = set()
        self._paused_until = 0.0

    def take(self, subject: str) -> Taken:
        """Take a unit if there is room for it."""
        return self._took(subject, 1, take)

    def charge(self, subject: str, units: int) -> Taken:
        """Take so many units, room or not: the work is done."""
        return self._took(subject, units, charge)

    def _took(self, subject: str, units: int, took: Callable[[Policy, float, int], Taken]) -> Taken:
        now = self._clock()
        use = self._uses.pop(subject, None) or _Use()
        self._uses[subject] = use  # at the end: the first is the one to forget
        if len(self._uses) > _SUBJECTS:
            del self._uses[next(iter(self._uses))]
        taken = took(self.policy, max(0.0, use.over_at - now), units)
        if taken.is_allowed:
            use.over_at = now + taken.backlog_s
            use.untold += units
            if use.untold >= self.policy.shared_units and not use.is_told and now >= self._paused_until:
                self._tell(subject, use, taken.backlog_s)
        return taken

    def _tell(self, subject: str, use: _Use, backlog_s: float) -> None:
        use.is_told = True
        task = asyncio.get_running_loop().create_task(self._share(subject, use, backlog_s))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _share(self, subject: str, use: _Use, backlog_s: float) -> None:
        units, use.untold = use.untold, 0
        # What has been given back since does not count any more.
        taken_s = min(units * self.policy.interval_s, backlog_s)
        try:
            found_s = await self._shared.add(self.policy.name, subject, taken_s, self.policy.window_s)
        except StoreError:
            use.untold += units
            self._paused_until = self._clock() + _PAUSE_S
        else:
            use.over_at = self._clock() + found_s + use.untold * self.policy.interval_s
        finally:
            use.is_told = False
