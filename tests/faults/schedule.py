"""What is broken when: the same seed gives the same schedule."""

import random
from enum import StrEnum
from typing import Final

import msgspec

from tests.faults.testbed import AGENTS, GATEWAYS, PROCESSES, SERVERS


class Kind(StrEnum):
    """A way of breaking something."""

    KILL = "kill -9"
    FREEZE = "freeze"
    LONG_FREEZE = "freeze past the session"
    RESTART = "restart"
    FLUSH = "FLUSHALL"
    STALE_QUIET = "failover, quiet"
    STALE_WRITTEN = "failover, written to"
    OLD_BACKUP = "old backup"
    CUT = "network cut"
    SLOW = "network slow"
    HALF_OPEN = "network half-open"


class Fault(msgspec.Struct, frozen=True, order=True):
    """Break `target` in this way at `at` seconds from the start, for `seconds` where it lasts."""

    at: float
    kind: Kind
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:.1f} s {self.kind} {self.target} {self.seconds:.1f} s"


LASTS: Final[dict[Kind, tuple[float, float]]] = {
    Kind.KILL: (0.0, 0.0),
    Kind.FREEZE: (1.0, 4.0),
    # The group session is 10 s: by then another member may own the partitions, or the member itself gives up.
    Kind.LONG_FREEZE: (11.0, 13.0),
    Kind.RESTART: (0.0, 0.0),
    Kind.FLUSH: (0.0, 0.0),
    Kind.STALE_QUIET: (1.0, 4.0),
    Kind.STALE_WRITTEN: (1.0, 4.0),
    Kind.OLD_BACKUP: (0.0, 0.0),
    Kind.CUT: (1.0, 6.0),
    Kind.SLOW: (2.0, 6.0),
    Kind.HALF_OPEN: (2.0, 8.0),
}
"""How long a fault lasts in seconds; of a failover, how old the replica is."""

_ANYTHING: Final = (*PROCESSES, *SERVERS)
DECK: Final[tuple[tuple[Kind, str], ...]] = (
    *((kind, target) for kind in (Kind.KILL, Kind.FREEZE, Kind.RESTART) for target in _ANYTHING),
    *((Kind.LONG_FREEZE, target) for target in (*GATEWAYS, *AGENTS, "kafka", "redis")),
    # What loses Redis's memory is the heart of the matter, and the proxy sees what no signal can do.
    *((kind, "redis") for kind in (Kind.FLUSH, Kind.STALE_QUIET, Kind.STALE_WRITTEN, Kind.OLD_BACKUP)),
    *((kind, "redis") for kind in (Kind.FLUSH, Kind.STALE_QUIET, Kind.STALE_WRITTEN)),
    *((kind, "kafka") for kind in (Kind.CUT, Kind.SLOW, Kind.HALF_OPEN)),
    *((kind, "kafka") for kind in (Kind.CUT, Kind.HALF_OPEN)),
)
"""Every way of breaking every part; what stands here twice happens twice as often."""

FIRST_AT: Final = 2.0
GAPS: Final = (0.5, 4.0)
"""Seconds from the end of a fault to the next one: some come while the last one's damage is being mended."""


def schedule(seed: int, seconds: float, deck: tuple[tuple[Kind, str], ...] = DECK) -> list[Fault]:
    """The faults of a run of `seconds`, one after the other; the deck is drawn to its end, then anew.

    A fault that would outlast the run is left out.
    """
    randomness = random.Random(f"schedule {seed}")
    cards: list[tuple[Kind, str]] = []
    at = FIRST_AT
    faults: list[Fault] = []
    while True:
        if not cards:
            cards = randomness.sample(deck, len(deck))
        kind, target = cards.pop()
        fault = Fault(round(at, 1), kind, target, round(randomness.uniform(*LASTS[kind]), 1))
        if fault.at + fault.seconds > seconds:
            return faults
        faults.append(fault)
        at = fault.at + fault.seconds + randomness.uniform(*GAPS)
