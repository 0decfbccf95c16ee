"""The check of the topics when a process starts."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from runtime.failstop import EXIT_RESTART, end_at_sigterm
from runtime.settings import KafkaSettings
from topics.access import Role
from topics.apply import require
from topics.cluster import cluster
from topics.errors import ClusterRefusesError, ClusterUnreachableError, TopicsDifferError
from topics.names import GENERATION
from topics.plan import is_closed
from topics.registry import CART_CHANGED, CART_TOPICS

T = TypeVar("T")

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 2.0
_KAFKA_S: Final = 60.0
"""How long a Kafka that does not answer is waited for. Kubernetes gives a process two minutes to start."""


def require_topics(
    command: str, kafka: KafkaSettings, partitions: int, role: Role, *, others: int | None = None
) -> None:
    """Return if the role has its rights, and its topics are as the settings say, and open.

    Waits while the generation of the topics of carts is closed: another one is live, still or by now. So the
    processes of the next generation can be started before carts have moved.

    `command` names the process in what stderr is told. Exits with 1 when something has to be
    mended, with 75 when the cluster has not answered for a minute and a restart may help. From now on SIGTERM
    ends the process at once, until it begins its work.
    """
    end_at_sigterm()
    # Logging starts with the worker: without a handler aiokafka writes each failed attempt to stderr.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        asyncio.run(_require(command, kafka, partitions, others, role))
    except (TopicsDifferError, ClusterRefusesError) as error:
        sys.exit(f"cartstream {command}: {error}")
    except ClusterUnreachableError as error:
        # Logging starts with the worker.
        sys.stderr.write(f"cartstream {command}: {error}\n")
        sys.exit(EXIT_RESTART)


async def _require(
    command: str, kafka: KafkaSettings, partitions: int, others: int | None, role: Role
) -> None:
    unchecked: Role | None = role
    if any(spec in CART_TOPICS for spec in role.topics):
        # First: whoever waits for its generation without a right would be told only once writes wait for it.
        await _answered(command, lambda: _require_rights(kafka, role))
        unchecked = None
        is_told = False
        while not await _answered(command, lambda: is_open(kafka)):
            if not is_told:
                sys.stderr.write(
                    f"cartstream {command}: waits, for generation {GENERATION} of the topics of carts is "
                    "closed. Is CARTSTREAM_GENERATION the one that `cartstream topics check` calls live?\n"
                )
                is_told = True
            await asyncio.sleep(_LOOK_S)
    await _answered(
        command,
        lambda: require(kafka, partitions=partitions, others=others, specs=role.topics, role=unchecked),
    )


async def _require_rights(kafka: KafkaSettings, role: Role) -> None:
    async with cluster(kafka) as connection:
        await connection.require_rights(role, role.topics)


async def _answered(command: str, ask: Callable[[], Awaitable[T]]) -> T:
    """What the cluster answers, however often it has to be asked. Raises TopicsError."""
    until, told = time.monotonic() + _KAFKA_S, ""
    while True:
        try:
            return await ask()
        except ClusterUnreachableError as error:
            if time.monotonic() > until:
                raise
            if str(error) != told:
                told = str(error)
                sys.stderr.write(f"cartstream {command}: waits for Kafka: {told}\n")
        await asyncio.sleep(_AGAIN_S)


async def is_open(kafka: KafkaSettings) -> bool:
    """Whether carts are in this generation of their topics. Raises TopicsError."""
    async with cluster(kafka) as connection:
        found = (await connection.observe([CART_CHANGED])).topics.get(CART_CHANGED.name)
    # A later generation that is not there is about to be made; that a first one is missing `require` tells.
    return GENERATION == 1 if found is None else not is_closed(found)
