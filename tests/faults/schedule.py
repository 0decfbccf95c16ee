"""What is broken when: the same seed gives the same schedule."""

import random
from enum import StrEnum
from itertools import cycle
from typing import Final

import msgspec

from tests.faults.topology import ALONE, GATEWAYS, SERVERS, Topology


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
    RESETS = "network resets"
    OUTAGE = "outage"
    LEAVE = "leave and join"
    BEYOND = "offsets past the end"
    CUT_ALONE = "cut off alone"
    HALF_OPEN_ALONE = "half-open alone"
    CLOCK_AHEAD = "clock ahead alone"
    CLOCK_BEHIND = "clock behind alone"
    NEWER = "restart with newer code"
    OLDER = "restart with older code"
    BROKER_DEAD = "broker dead"
    BROKER_EMPTY = "broker dead, back with an empty disk"
    PRIMARY_KILLED = "primary killed"
    FAILOVER_BY_HAND = "failover by hand"
    SLOT_MOVED = "slot moved"


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
    Kind.RESETS: (3.0, 6.0),
    # Longer than Faust waits for any answer (90 s): what it had asked for has failed for good.
    Kind.OUTAGE: (95.0, 100.0),
    Kind.LEAVE: (3.0, 9.0),
    Kind.BEYOND: (0.0, 0.0),
    # Longer than the publish deadline: after that what one gateway cannot publish holds back the other.
    Kind.CUT_ALONE: (15.0, 18.0),
    Kind.HALF_OPEN_ALONE: (15.0, 18.0),
    Kind.CLOCK_AHEAD: (15.0, 18.0),
    Kind.CLOCK_BEHIND: (15.0, 18.0),
    Kind.NEWER: (0.0, 0.0),
    Kind.OLDER: (0.0, 0.0),
    # Longer than brokers wait for one of them (9 s): others lead its partitions by then.
    Kind.BROKER_DEAD: (12.0, 15.0),
    Kind.BROKER_EMPTY: (12.0, 15.0),
}
"""How long a fault lasts in seconds; of a failover, how old the replica is."""

ONE_ALONE: Final = (Kind.CUT_ALONE, Kind.HALF_OPEN_ALONE, Kind.CLOCK_AHEAD, Kind.CLOCK_BEHIND)
"""What happens to one gateway only."""

LEADER: Final = "leader"
"""The target where there are several brokers: the one that leads a partition of `cart-changed`."""

_LOSSES: Final[tuple[tuple[Kind, str], ...]] = (
    # What loses Redis's memory is the heart of the matter, and the proxy sees what no signal can do.
    *((kind, "redis") for kind in (Kind.FLUSH, Kind.STALE_QUIET, Kind.STALE_WRITTEN, Kind.OLD_BACKUP)),
    *((kind, "redis") for kind in (Kind.FLUSH, Kind.STALE_QUIET, Kind.STALE_WRITTEN)),
    *((kind, "kafka") for kind in (Kind.CUT, Kind.SLOW, Kind.HALF_OPEN)),
    *((kind, "kafka") for kind in (Kind.CUT, Kind.HALF_OPEN)),
    (Kind.OUTAGE, "kafka"),
    *((kind, ALONE) for kind in ONE_ALONE),
    *((Kind.BEYOND, group) for group in ("compaction", "merges", "sink-mail")),
)
"""What stands here twice happens twice as often."""


def deck(topology: Topology) -> tuple[tuple[Kind, str], ...]:
    """Every way of breaking every part."""
    anything = (*topology.processes, *SERVERS)
    return (
        *((kind, target) for kind in (Kind.KILL, Kind.FREEZE, Kind.RESTART) for target in anything),
        *((Kind.LONG_FREEZE, target) for target in (*GATEWAYS, *topology.agents, "kafka", "redis")),
        *((Kind.LEAVE, target) for target in topology.divided),
        *((Kind.RESETS, server) for server in topology.proxied),
        *_LOSSES,
    )


FIRST_AT: Final = 2.0
GAPS: Final = (0.5, 4.0)
"""Seconds from the end of a fault to the next one: some come while the last one's damage is being mended."""
SECONDS_PER_FAULT: Final = 6.0
"""How long a fault and the gap after it take, about."""


LAST: Final = Fault(0, Kind.FLUSH, "redis", 0)
"""With this the load ends. What a loss has taken from a cart is back with the next change of it that is
followed, so it shows only where nobody changes carts any more."""


def schedule(seed: int, seconds: float, topology: Topology) -> list[Fault]:
    """The faults of a run of `seconds`, one after the other; one that would outlast the run is passed over.

    Seeds in a row draw from one deck, each where the one before it may have ended, until it has come to its
    end; the next seeds draw from another one. So a soak of enough seeds breaks everything in every way.
    """
    cards = deck(topology)
    drawn = max(1, int(seconds / SECONDS_PER_FAULT))
    number, place = divmod(seed, -(-len(cards) // drawn))
    shuffled = random.Random(f"deck {number}").sample(cards, len(cards))
    randomness = random.Random(f"schedule {seed}")
    at = FIRST_AT
    faults: list[Fault] = []
    passed_over = 0
    for kind, target in cycle((*shuffled[place * drawn :], *shuffled[: place * drawn])):
        fault = Fault(round(at, 1), kind, target, round(randomness.uniform(*LASTS[kind]), 1))
        if fault.at + fault.seconds <= seconds:
            faults.append(fault)
            at = fault.at + fault.seconds + randomness.uniform(*GAPS)
            passed_over = 0
        elif (passed_over := passed_over + 1) == len(cards):
            break
    return faults
