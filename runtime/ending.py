"""How this process ends: for good, so that it leaves its consumer groups, or to be started again at once.

Whoever is started again keeps its place in its groups, with its partitions, if it has an instance id.
"""

from enum import Enum


class Ending(Enum):
    """What a process has been told."""

    NOT_TOLD = "not told"
    FOR_GOOD = "for good"
    RENEWED = "renewed"


_ending = Ending.NOT_TOLD


def tell(ending: Ending) -> None:
    """The process has been told to end; what it was told first counts."""
    global _ending  # noqa: PLW0603  a process ends once, and its consumers learn of it here
    if _ending is Ending.NOT_TOLD:
        _ending = ending


def told() -> Ending:
    """What the process has been told."""
    return _ending
