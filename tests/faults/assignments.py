"""Watches which worker has which partition while a run goes on, and counts the partitions that move."""

import asyncio
import contextlib
from collections import Counter
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from tests.faults.watch import Watch
from topics.groups import COMPACTION, MERGES, POSTGRES_SINK, REDIS_SINK

GROUPS: Final = (COMPACTION, MERGES, POSTGRES_SINK, REDIS_SINK)
_POLL_SECONDS: Final = 1.0
_UUID_LENGTH: Final = 37
"""With the hyphen before it; a static member is called by its instance id and a UUID."""

Owners = dict[tuple[str, str, int], str]
"""By group, topic and partition, the instance id of the worker that has it."""


class Assignments(Watch):
    """Looks every second, when Kafka answers: what moves twice within a second counts once at most."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self.moves: Final[Counter[str]] = Counter()
        """By group, how often a partition was found with another worker than before."""
        self._kafka_bootstrap = kafka_bootstrap
        self._owners: Owners = {}

    async def _watch(self) -> None:
        while True:
            # Kafka is being broken.
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await self._look()
            await asyncio.sleep(_POLL_SECONDS)

    async def _look(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka_bootstrap, request_timeout_ms=4000)
        await admin.start()
        try:
            while True:
                # One at a time: aiokafka 0.14 misreads an answer about several.
                for name in GROUPS:
                    (reply,) = await admin.describe_consumer_groups([name])
                    self.compare(owners_of(reply.groups[0]))
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await admin.close()

    def compare(self, owners: Owners) -> None:
        """Count what has moved since the last look."""
        for place, owner in owners.items():
            if self._owners.setdefault(place, owner) != owner:
                self.moves[place[0]] += 1
                self._owners[place] = owner


def owners_of(group: Any) -> Owners:
    """Who has what, in a group as the broker describes it."""
    _, name, _, _, _, members, *_ = group
    owners: Owners = {}
    for member_id, _, _, _, assignment, *_ in members:
        if not assignment:
            continue  # the group is dividing its partitions
        for topic, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
            for partition in partitions:
                owners[name, topic, partition] = member_id[:-_UUID_LENGTH]
    return owners
