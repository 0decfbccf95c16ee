"""How much a subject may take of a quota: the generic cell rate algorithm (GCRA). Pure.

A subject has one number, its backlog: the seconds until all it has taken has been given back, at the rate of
the quota in its window. There is room as long as the backlog with the next unit fits into the window. So a
whole quota may be taken at once, and then one unit each `interval_s`.
"""

import math
from typing import Final, Self

import msgspec

_SHARED_AT: Final = 16
"""A subject's use is shared with other gateways once it is so small a part of the quota."""


class Policy(msgspec.Struct, frozen=True):
    """A quota of `quota` units in each `window_s` seconds."""

    name: str
    quota: int
    window_s: int

    @property
    def interval_s(self) -> float:
        """After how long a unit is given back."""
        return self.window_s / self.quota

    @property
    def shared_units(self) -> int:
        """After so many units other gateways are told."""
        return max(1, self.quota // _SHARED_AT)

    @property
    def header(self) -> str:
        """The item in RateLimit-Policy."""
        return f'"{self.name}";q={self.quota};w={self.window_s}'

    @classmethod
    def per_minute(cls, name: str, quota: int) -> Self | None:
        """A quota for each minute; None for 0: there is no limit."""
        return cls(name, quota, 60) if quota else None


class Taken(msgspec.Struct, frozen=True):
    """What became of an attempt to take units, and what is left, by the subject's backlog in seconds."""

    policy: Policy
    is_allowed: bool
    backlog_s: float
    units: int

    @property
    def left(self) -> int:
        """Units that may be taken now."""
        return max(0, math.floor((self.policy.window_s - self.backlog_s) / self.policy.interval_s + 1e-6))

    @property
    def more_in_s(self) -> int:
        """Seconds until one unit more than now may be taken, rounded up; 0 while the quota is whole."""
        if self.left >= self.policy.quota:
            return 0
        free_s = self.policy.window_s - self.backlog_s
        return max(1, math.ceil((self.left + 1) * self.policy.interval_s - free_s - 1e-6))

    @property
    def late_s(self) -> float:
        """By how many seconds more than the quota was taken."""
        return max(0.0, self.backlog_s - self.policy.window_s)

    @property
    def again_s(self) -> float:
        """Seconds until as many units may be taken."""
        wanted_s = min(self.units * self.policy.interval_s, self.policy.window_s)
        return max(0.0, self.backlog_s + wanted_s - self.policy.window_s)

    @property
    def header(self) -> str:
        """The item in RateLimit."""
        return f'"{self.policy.name}";r={self.left};t={self.more_in_s}'


def take(policy: Policy, backlog_s: float, units: int) -> Taken:
    """Take so many units, or none. What is more than the whole quota is taken once nothing else is."""
    wanted_s = units * policy.interval_s
    if backlog_s > 0 and backlog_s + min(wanted_s, policy.window_s) > policy.window_s + 1e-6:
        return Taken(policy, is_allowed=False, backlog_s=backlog_s, units=units)
    return Taken(policy, is_allowed=True, backlog_s=backlog_s + wanted_s, units=units)


def charge(policy: Policy, backlog_s: float, units: int) -> Taken:
    """Take so many units whether there is room or not."""
    return Taken(policy, is_allowed=True, backlog_s=backlog_s + units * policy.interval_s, units=units)
