"""Starts one `streams` process: settings, a look at the topics, the agent."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from delivery import EXIT_RESTART, DeliveryApp, run_worker
from streams.compaction import create_compaction
from streams.settings import StreamsSettings
from topics.apply import require
from topics.errors import ClusterUnreachableError, TopicsDifferError
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS
from topics.settings import load

AGENTS: Final[dict[str, Callable[[StreamsSettings], DeliveryApp]]] = {"compaction": create_compaction}
"""The agents this process can be, by the name on the command line."""


def run(agent: str) -> None:
    """Run the agent until SIGTERM; KeyError for an unknown one.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    make_app = AGENTS[agent]
    settings = load(StreamsSettings)
    needed = (CART_CHANGED, CARTS, DEAD_LETTERS)
    try:
        asyncio.run(require(settings, partitions=settings.partitions, specs=needed))
    except TopicsDifferError as error:
        sys.exit(f"cartstream streams {agent}: {error}")
    except ClusterUnreachableError as error:
        # Logging starts with the worker.
        sys.stderr.write(f"cartstream streams {agent}: {error}\n")
        sys.exit(EXIT_RESTART)
    run_worker(make_app(settings))
