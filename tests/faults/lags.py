"""How far behind the consumer groups are while something goes on, at the worst."""

import asyncio
import contextlib
from typing import Final

from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from ops.workers import look
from tests.faults.testbed import Testbed
from tests.faults.watch import Watch
from topics.errors import TopicsError
from topics.groups import GROUPS, HISTORY_SINK

POLL_SECONDS: Final = 2.0


class Lags(Watch):
    """Looks every two seconds, as `cartstream workers` does, how old the first record is that waits."""

    def __init__(self, testbed: Testbed) -> None:
        self.worst: Final[dict[str, float]] = {}
        """Seconds, by group."""
        self._settings = OpsSettings(
            kafka_bootstrap=testbed.urls.kafka_bootstrap,
            redis_url=testbed.urls.redis,
            partitions=testbed.topology.partitions,
        )
        # A testbed has no history.
        self._groups = [group for group in GROUPS if group.name != HISTORY_SINK]

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(KafkaError, TopicsError, OSError, TimeoutError):
                for report in await look(self._settings, 0.0, self._groups):
                    if report.behind_s is not None:
                        self.worst[report.group] = max(report.behind_s, self.worst.get(report.group, 0.0))
            await asyncio.sleep(POLL_SECONDS)
