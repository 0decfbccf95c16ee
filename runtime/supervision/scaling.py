"""How many workers a group needs by how far it is behind: the decision alone.

Late for a while: one more. Far from late for much longer: one less. In between nothing changes. Each change
begins a new wait: the group stops for a moment when a worker comes or goes, which by itself makes it late.
"""

from dataclasses import dataclass, replace
from typing import Final

CALM_SHARE: Final = 0.5
"""Below this share of what counts as late a group is calm."""
LONGEST_PATIENCE_S: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The bounds, and when to move between them. Times in seconds."""

    least: int
    most: int
    late_s: float
    """Age of the first record that waits, from which on the group is late."""
    more_after_s: float
    """How long it is late before a worker is added."""
    fewer_after_s: float
    """How long it is calm before a worker leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was seen of a group."""

    behind_s: float
    """Age of the first record that waits; 0 if none does."""
    spare: bool = False
    """Whether a worker has no partition: another one would have none, either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many workers there are to be, and what the next decision has to know. Moments in seconds."""

    count: int
    patience_s: float
    """How long the group must be calm; longer after a step down that had to be taken back."""
    late_since: float | None = None
    calm_since: float | None = None
    shrunk_at: float | None = None


def initial(policy: Policy) -> Scale:
    """The scale to begin with: as few workers as may be."""
    return Scale(count=policy.least, patience_s=policy.fewer_after_s)


def decide(policy: Policy, scale: Scale, load: Load | None, now: float) -> Scale:
    """The scale from `now` on. A load that is not known (None) changes nothing and begins both waits anew."""
    if load is None:
        return replace(scale, late_since=None, calm_since=None)
    if load.behind_s >= policy.late_s:
        return _when_late(policy, scale, load, now)
    if load.behind_s < policy.late_s * CALM_SHARE:
        return _when_calm(policy, scale, now)
    return replace(scale, late_since=None, calm_since=None)


def _when_late(policy: Policy, scale: Scale, load: Load, now: float) -> Scale:
    since = now if scale.late_since is None else scale.late_since
    waiting = replace(scale, late_since=since, calm_since=None)
    if now - since < policy.more_after_s or scale.count >= policy.most or load.spare:
        return waiting
    return Scale(count=scale.count + 1, patience_s=_patience(policy, scale, now))


def _patience(policy: Policy, scale: Scale, now: float) -> float:
    """If the worker that left last was missed soon, the next one is given twice as long."""
    if scale.shrunk_at is None:
        return scale.patience_s
    if now - scale.shrunk_at < scale.patience_s:
        return min(scale.patience_s * 2, LONGEST_PATIENCE_S)
    return policy.fewer_after_s


def _when_calm(policy: Policy, scale: Scale, now: float) -> Scale:
    since = now if scale.calm_since is None else scale.calm_since
    waiting = replace(scale, late_since=None, calm_since=since)
    if now - since < scale.patience_s or scale.count <= policy.least:
        return waiting
    return replace(waiting, count=scale.count - 1, calm_since=None, shrunk_at=now)
