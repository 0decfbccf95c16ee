"""Which processes a testbed has: how many workers each group has, and how they are called."""

import re
from typing import Final

import msgspec

from topics.registry import PARTITIONS

GATEWAYS: Final = ("gateway", "gateway-2")
AGENTS: Final = ("compaction", "merges", "sink-postgres", "sink-redis", "jobs", "sink-mail")
SERVERS: Final = ("redis", "kafka", "postgres")
ALONE: Final = "gateway-2"
"""The gateway that reaches Kafka through a network of its own, and has a clock of its own."""
SEVERAL: Final = ("compaction", "sink-postgres", "sink-redis")
"""The groups that divide the partitions of the carts."""
PAIRED: Final = ("merges", "jobs")
"""Two at most: what they do is rare, and two are enough for one to take over from the other."""
_NUMBERED: Final = re.compile(r"(.*?)(?:-(\d+))?")


class Topology(msgspec.Struct, frozen=True):
    """Partitions of every topic, and workers of each group; more workers than partitions: some are spare."""

    workers: int = 1
    partitions: int = PARTITIONS
    mailers: int = 1
    """Processes that mail."""
    proxied: tuple[str, ...] = ("kafka",)
    """The servers behind proxies. Each takes time of the process that runs the tests: on a machine that has
    other work, a proxy of Redis may answer later than a gateway waits."""

    def workers_of(self, group: str) -> tuple[str, ...]:
        """The names of a group's workers."""
        if group in SEVERAL:
            count = self.workers
        elif group in PAIRED:
            count = min(self.workers, 2)
        else:
            count = self.mailers
        return (group, *(f"{group}-{number}" for number in range(2, count + 1)))

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of all workers of all groups."""
        return tuple(name for group in AGENTS for name in self.workers_of(group))

    @property
    def processes(self) -> tuple[str, ...]:
        """Everything but the servers."""
        return (*GATEWAYS, *self.agents)

    @property
    def divided(self) -> tuple[str, ...]:
        """The workers that another one of their group stands in for."""
        return tuple(
            name for group in AGENTS if len(self.workers_of(group)) > 1 for name in self.workers_of(group)
        )


def place_of(name: str) -> tuple[str, int]:
    """The group or server that a process belongs to, and its number there: `jobs-2` is the second."""
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return match[1], int(match[2] or 1)
