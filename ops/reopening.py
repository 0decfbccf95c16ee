"""Where carts are, and having them there again if they could not be moved: writes come first.

The generation that was closed is opened before what there is of the next one is deleted: that one was never
open, so nobody writes to it, and it does no harm. Whatever does not answer is tried for some minutes.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import stamina
from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from store.postgres import positions
from store.redis import CartStore, StoreError
from topics.cluster import Cluster, cluster
from topics.errors import ClusterUnreachableError, TopicsError
from topics.generations import Generation, generations, open_, remaining, remove
from topics.names import GENERATION

NEXT: Final = GENERATION + 1
REOPEN_S: Final = 300.0
"""How long it is tried."""
_ATTEMPT_S: Final = 30.0
_WAIT_MAX_S: Final = 2.0

Say = Callable[[str], None]


class NotRepartitioned(TopicsError):
    """Carts are where they were; the message says why."""


class AlreadyMoved(Exception):
    """Carts are in the next generation already; the message says what to set."""


class StillClosed(TopicsError):
    """Carts are where they were, and cannot be changed; the message says what to do."""


class RightsMissing(TopicsError):
    """The role in Postgres may not do this. Nothing was changed."""


class Found(NamedTuple):
    """The generation of this environment, and the next one if there is one."""

    own: Generation
    following: Generation | None


async def find(kafka: Cluster, settings: OpsSettings) -> Found:
    """The generations as they are. Raises NotRepartitioned, AlreadyMoved, TopicsError."""
    known = await generations(kafka)
    own, following = known.get(GENERATION), known.get(NEXT)
    if own is None:
        raise NotRepartitioned(
            f"there is no generation {GENERATION} of the topics of carts, as CARTSTREAM_GENERATION says: "
            "`cartstream topics check` shows which there are"
        )
    if own.partitions != settings.partitions:
        raise NotRepartitioned(
            f"the topics of carts have {own.partitions} partitions: set "
            f"CARTSTREAM_PARTITIONS={own.partitions}"
        )
    if following is not None and following.is_open:
        raise AlreadyMoved(
            f"carts are in generation {NEXT}, with {following.partitions} partitions: "
            f"{what_to_set(settings, NEXT, following.partitions)}"
        )
    return Found(own, following)


async def require_rights(database: positions.Connection) -> None:
    """Raises RightsMissing, psycopg.Error."""
    if not await positions.may_write(database):
        raise RightsMissing("this role may not write carts_positions in Postgres: use the role that migrates")


def what_to_set(settings: OpsSettings, generation: int, partitions: int) -> str:
    """What every process of a generation needs in its environment."""
    others = settings.other_partitions or settings.partitions
    return (
        f"set CARTSTREAM_GENERATION={generation} CARTSTREAM_PARTITIONS={partitions} "
        f"CARTSTREAM_OTHER_PARTITIONS={others}"
    )


async def have_back(settings: OpsSettings, store: CartStore, say: Say) -> None:
    """Have carts in this generation as if nobody had tried to move them. Raises as `reopen`.

    What is left of the next one is only told.
    """
    await reopen(settings, store, say)
    try:
        await clear_away(settings, say)
    except (TopicsError, KafkaError, OSError) as error:
        say(
            f"warning: writes go on, but topics of generation {NEXT} are left: {error}. They were never open "
            "and do no harm: delete them before carts are moved again"
        )


async def reopen(settings: OpsSettings, store: CartStore, say: Say) -> None:
    """Open this generation, in Kafka and then in Redis; waits for both for some minutes.

    Raises StillClosed; NotRepartitioned, AlreadyMoved as `find`.
    """
    try:
        async for attempt in stamina.retry_context(
            on=(StoreError, KafkaError, ClusterUnreachableError, OSError),  # a TimeoutError is an OSError
            attempts=None,
            timeout=REOPEN_S,
            wait_max=_WAIT_MAX_S,
        ):
            with attempt:
                try:
                    async with asyncio.timeout(_ATTEMPT_S):
                        await _open(settings, store, say)
                except (StoreError, KafkaError, ClusterUnreachableError, OSError) as error:
                    if attempt.num == 1:
                        say(f"it is tried again for {REOPEN_S:.0f} s, for writes wait: {_text(error)}")
                    raise
    except NotRepartitioned:
        raise
    except (StoreError, KafkaError, TopicsError, OSError) as error:
        raise StillClosed(
            f"writes wait: generation {GENERATION} could not be opened again ({_text(error)}). Have Kafka "
            "and Redis answer, then run `cartstream topics repartition --take-back`"
        ) from error


async def _open(settings: OpsSettings, store: CartStore, say: Say) -> None:
    async with cluster(settings) as kafka:
        # Each time: a command that has lost its lock may not be the only one.
        own = (await find(kafka, settings)).own
        if not own.is_open:
            say(f"opening generation {GENERATION} again")
        await open_(kafka, own)
    if own.is_open and await store.closed_partitions():
        say(f"opening generation {GENERATION} again")
    await store.open_partitions()


async def clear_away(settings: OpsSettings, say: Say) -> None:
    """Delete what there is of the next generation, which was never open. Raises AlreadyMoved, TopicsError."""
    async with cluster(settings) as kafka:
        await find(kafka, settings)
        if await remaining(kafka, NEXT):
            say(f"removing what there is of generation {NEXT}, which was never open")
            await remove(kafka, NEXT)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
