"""Starts one `streams` process: settings, a look at the topics, the agent."""

import asyncio
import sys
from collections.abc import Sequence

from delivery import EXIT_RESTART
from topics.apply import require
from topics.errors import ClusterUnreachableError, TopicsDifferError
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, TopicSpec
from topics.settings import KafkaSettings, load

# Agents are imported where they are needed: neither process pays for the other's libraries.


def run_compaction() -> None:
    """Run the compaction agent until SIGTERM.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    from delivery import run_worker  # noqa: PLC0415
    from streams.compaction import create_compaction  # noqa: PLC0415
    from streams.settings import StreamsSettings  # noqa: PLC0415

    settings = load(StreamsSettings)
    _require("compaction", settings, settings.partitions, (CART_CHANGED, CARTS, DEAD_LETTERS))
    run_worker(create_compaction(settings))


def run_upkeep() -> None:
    """Run the duties until SIGTERM. Exits as `run_compaction` does."""
    from streams.upkeep import app  # noqa: PLC0415
    from streams.upkeep.settings import UpkeepSettings  # noqa: PLC0415

    settings = load(UpkeepSettings)
    _require("upkeep", settings, settings.partitions, app.TOPICS)
    app.run_upkeep(settings)


def _require(name: str, kafka: KafkaSettings, partitions: int, topics: Sequence[TopicSpec]) -> None:
    try:
        asyncio.run(require(kafka, partitions=partitions, specs=topics))
    except TopicsDifferError as error:
        sys.exit(f"cartstream streams {name}: {error}")
    except ClusterUnreachableError as error:
        # Logging starts with the worker.
        sys.stderr.write(f"cartstream streams {name}: {error}\n")
        sys.exit(EXIT_RESTART)
