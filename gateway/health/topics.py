"""Whether the gateway may write to its topics, and they are as its settings say, as soon as Kafka answers."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import structlog

from runtime.failstop import EXIT_CONFIGURATION, end
from runtime.settings import KafkaSettings
from topics.access import GATEWAY
from topics.apply import require
from topics.errors import ClusterRefusesError, ClusterUnreachableError, TopicsDifferError
from topics.registry import TopicSpec

log = structlog.get_logger(__name__)

_PAUSE_S: Final = 2.0


class TopicsCheck:
    """Looks until the topics are right. The gateway serves meanwhile: it starts without Kafka, too.

    With another number of partitions the process ends with code 1. It would write carts to partitions where
    nobody looks for them, and compaction would refuse changes that it has acknowledged.
    """

    def __init__(
        self, kafka: KafkaSettings, partitions: int, specs: Sequence[TopicSpec], others: int | None = None
    ) -> None:
        """`others`: partitions of the topics that are not of carts; None: as many."""
        self._kafka = kafka
        self._partitions = partitions
        self._others = others
        self._specs = specs
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self.problem: str | None = None
        """What is wrong and what to do; None while nothing is known to be."""

    def start(self) -> None:
        """Begin to look."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def until_looked(self, seconds: float) -> None:
        """Wait for the first answer of Kafka, no longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._looked.wait()
        except TimeoutError:
            log.warning("topics.not_checked", meaning="Kafka has not answered yet; the check goes on")

    async def _look(self) -> None:
        while True:
            try:
                await require(
                    self._kafka,
                    partitions=self._partitions,
                    others=self._others,
                    specs=self._specs,
                    role=GATEWAY,
                )
            except TopicsDifferError as error:
                if any(difference.setting == "partitions" for difference in error.differences):
                    log.critical("topics.differ", exit_code=EXIT_CONFIGURATION, problem=str(error))
                    sys.stderr.write(f"cartstream gateway: {error}\n")
                    end(EXIT_CONFIGURATION)
                self._found("topics.differ", str(error))
            except ClusterRefusesError as error:
                self._found("kafka.refuses", str(error))
            except ClusterUnreachableError:
                pass  # the state of Kafka is reported elsewhere
            except Exception:
                log.exception("topics.look_failed")
            else:
                self.problem = None
                self._looked.set()
                return
            await asyncio.sleep(_PAUSE_S)

    def _found(self, event: str, problem: str) -> None:
        if problem != self.problem:
            log.error(event, problem=problem)
        self.problem = problem
        self._looked.set()
