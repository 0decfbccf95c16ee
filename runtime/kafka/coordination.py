"""Whether a consumer goes on in its group: aiokafka tells who fetches, and who has no partitions does not."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from runtime.kafka.clients import has_died
from runtime.kafka.internals import client_of, coordination_task, coordinator_of, pending_error

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
_PATIENCE_S: Final = 60.0
"""So long a group may refuse a member; then a new process may do better."""


async def until_it_ends(consumer: AIOKafkaConsumer) -> str:
    """Look after a started consumer in its group; why it works no more, which only a new process mends.

    After an error that it does not mend by itself, such as a right that it lacks for a moment, aiokafka's
    coordinator joins no group until somebody takes that error. Who fetches does, at once; otherwise it is
    taken here, and the coordinator tries again.
    """
    coordinator = coordinator_of(consumer)
    clock = asyncio.get_running_loop().time
    seen: BaseException | None = None
    refused_since: float | None = None
    while True:
        if has_died(client_of(consumer)):
            return "the client of Kafka has ended"
        if coordination_task(coordinator).done():
            return "the coordination of the group has ended"
        await asyncio.sleep(_LOOK_S)
        pending = pending_error(coordinator)
        if pending is None and seen is None:
            refused_since = None
        elif pending is not None and pending is seen:
            refused_since = refused_since or clock()
            if clock() - refused_since > _PATIENCE_S:
                return f"the group refuses it: {pending!r}"
            try:
                coordinator.check_errors()
            except KafkaError as error:
                log.warning("group.refused", group=coordinator.group_id, error=repr(error))
        seen = pending
