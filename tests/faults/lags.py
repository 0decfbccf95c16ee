"""How far behind the consumer groups are while something goes on."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from ops.workers import GroupReport, look
from tests.faults.history import Began, Record, now_us
from tests.faults.testbed import Testbed
from tests.faults.watch import Watch
from topics.errors import TopicsError
from topics.groups import GROUPS, HISTORY_SINK

POLL_SECONDS: Final = 2.0


class Look(NamedTuple):
    """How old the first record is that waits for a group, at one moment (as in the history)."""

    at: int
    group: str
    behind_s: float


class Worst(NamedTuple):
    """The longest that a group was behind, and what had begun last by then."""

    behind_s: float
    during: str


class Lags(Watch):
    """Looks every two seconds, as `cartstream workers` does, and writes a line for each look and group."""

    def __init__(self, testbed: Testbed, path: Path) -> None:
        self.looks: Final[list[Look]] = []
        self.failed = 0
        """So many looks got no answer, and say nothing."""
        self._path = path
        self._settings = OpsSettings(
            kafka_bootstrap=testbed.urls.kafka_bootstrap,
            redis_url=testbed.urls.redis,
            partitions=testbed.topology.partitions,
        )
        # A testbed has no history.
        self._groups = [group for group in GROUPS if group.name != HISTORY_SINK]

    async def _watch(self) -> None:
        while True:
            try:
                reports = await look(self._settings, 0.0, self._groups)
            except (KafkaError, TopicsError, OSError, TimeoutError):
                self.failed += 1
            else:
                self._keep(reports)
            await asyncio.sleep(POLL_SECONDS)

    def _keep(self, reports: Iterable[GroupReport]) -> None:
        now = now_us()
        found = [
            Look(now, report.group, report.behind_s) for report in reports if report.behind_s is not None
        ]
        self.looks.extend(found)
        with self._path.open("a") as file:
            file.writelines(f"{at},{group},{behind_s}\n" for at, group, behind_s in found)


def worst(looks: Iterable[Look], history: Sequence[Record]) -> dict[str, Worst]:
    """By group."""
    begins = [record for record in history if isinstance(record, Began)]
    longest: dict[str, Look] = {}
    for each in looks:
        if each.group not in longest or each.behind_s > longest[each.group].behind_s:
            longest[each.group] = each
    return {
        group: Worst(
            found.behind_s,
            next(
                (f"{begin.fault} {begin.target}" for begin in reversed(begins) if begin.at <= found.at), "-"
            ),
        )
        for group, found in longest.items()
    }
