"""How far behind the consumer groups are while something goes on, at the worst."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from ops.workers import look
from tests.faults.testbed import Testbed
from topics.errors import TopicsError
from topics.groups import GROUPS, HISTORY_SINK

POLL_SECONDS: Final = 2.0


class Lags:
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
        self._watching: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(KafkaError, TopicsError, OSError, TimeoutError):
                for report in await look(self._settings, 0.0, self._groups):
                    if report.behind_s is not None:
                        self.worst[report.group] = max(report.behind_s, self.worst.get(report.group, 0.0))
            await asyncio.sleep(POLL_SECONDS)
