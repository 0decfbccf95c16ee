"""Starts one `streams` process: settings, a look at the topics, the agent."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Final

from delivery import EXIT_RESTART, DeliveryApp, run_worker
from streams.compaction import create_compaction
from streams.settings import StreamsSettings
from topics.apply import require
from topics.errors import ClusterUnreachableError, TopicsDifferError
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, TopicSpec
from topics.settings import KafkaSettings, load

AGENTS: Final[dict[str, Callable[[StreamsSettings], DeliveryApp]]] = {"compaction": create_compaction}
"""The agents this process can be, by the name on the command line."""


def run(agent: str) -> None:
    """Run the agent until SIGTERM; KeyError for an unknown one.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    make_app = AGENTS[agent]
    settings = load(StreamsSettings)
    _require(agent, settings, settings.partitions, (CART_CHANGED, CARTS, DEAD_LETTERS))
    run_worker(make_app(settings))


def run_upkeep() -> None:
    """Run the duties until SIGTERM. Exits as `run` does."""
    # Imported where it is needed: neither process pays for the other's libraries.
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
