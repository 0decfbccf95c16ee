"""What every consumer group is doing: its members, their partitions, how far behind, how fast."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from ops.settings import OpsSettings
from store.redis import CartStore, Layout, PipelinedClient, StoreError
from store.redis.catalogue import ProductCache
from topics.apply import require
from topics.committed import committed_offsets
from topics.groups import GROUPS, REDIS_SINK, Group
from topics.registry import PRODUCTS, topic

_UUID: Final = len("-12345678-1234-1234-1234-123456789012")
_RECORDS_WITHIN_S: Final = 5.0
_REDIS_TIMEOUT_S: Final = 2.0


class GroupState(StrEnum):
    """The state of a group."""

    STABLE = "stable"
    REBALANCING = "rebalancing"
    EMPTY = "empty"
    UNKNOWN = "never seen"


_STATES: Final = {
    "Stable": GroupState.STABLE,
    "PreparingRebalance": GroupState.REBALANCING,
    "CompletingRebalance": GroupState.REBALANCING,
    "Empty": GroupState.EMPTY,
    "Dead": GroupState.UNKNOWN,
}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in its group; `host` is the name of its machine, `address` where it connects from."""

    instance_id: str | None
    host: str
    address: str
    partitions: list[int]

    @property
    def is_spare(self) -> bool:
        """Whether it waits for a partition."""
        return not self.partitions


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A partition. `lag` in records and `behind_s`, the age of the first of them; None is not known."""

    partition: int
    position: int | None
    lag: int | None
    behind_s: float | None
    records_per_s: float | None
    owned: bool


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """One group. `spare` are members without a partition, `unowned` partitions without a member."""

    group: str
    command: str
    topic: str
    state: GroupState
    members: list[Member]
    partitions: list[Place]
    spare: list[str]
    unowned: list[int]
    lag: int | None
    behind_s: float | None
    records_per_s: float | None
    problem: str | None = None


class _Position(NamedTuple):
    topic: str
    partition: int
    offset: int


class Sample(msgspec.Struct, frozen=True):
    """Positions of a group, read at `at_s` (Unix time), and the ends of its partitions soon after."""

    at_s: float
    positions: Mapping[int, int]
    ends: Mapping[int, int]


def report(
    group: Group,
    described: tuple[GroupState, Sequence[Member]],
    first: Sample,
    last: Sample,
    written: Mapping[int, float],
) -> GroupReport:
    """What the samples say. `written`: by partition, when the first record that waits was (Unix time)."""
    state, members = described
    owned = {partition for member in members for partition in member.partitions}
    seconds = max(last.at_s - first.at_s, 1e-9)
    places = []
    for partition, end in sorted(last.ends.items()):
        position, before = last.positions.get(partition), first.positions.get(partition)
        lag = None if position is None else max(0, end - position)
        behind_s = 0.0 if lag == 0 else None
        if lag and partition in written:
            behind_s = round(max(0.0, last.at_s - written[partition]), 1)
        places.append(
            Place(
                partition=partition,
                position=position,
                lag=lag,
                behind_s=behind_s,
                records_per_s=None
                if position is None or before is None
                else round((position - before) / seconds, 1),
                owned=partition in owned,
            )
        )
    return GroupReport(
        group=group.name,
        command=f"cartstream {group.command}",
        topic=group.topic,
        state=state,
        members=list(members),
        partitions=places,
        spare=[member.instance_id or member.host for member in members if member.is_spare],
        unowned=[place.partition for place in places if not place.owned],
        lag=_sum(place.lag for place in places),
        behind_s=max((place.behind_s for place in places if place.behind_s is not None), default=None),
        records_per_s=_sum(place.records_per_s for place in places),
        problem=_problem(group, state, members, places),
    )


def _sum(values: Iterable[int | float | None]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _problem(
    group: Group, state: GroupState, members: Sequence[Member], places: Sequence[Place]
) -> str | None:
    """What is wrong, as a sentence with what to do; None if nothing is."""
    waiting = sum(place.lag or 0 for place in places if not place.owned)
    if group.position_in_redis and all(place.position is None for place in places):
        return "its positions are in Redis, which has none or does not answer: see `cartstream restore`"
    if state is GroupState.UNKNOWN or (state is GroupState.EMPTY and not members):
        return f"nobody works on it: start `cartstream {group.command}` if you need it"
    if state is GroupState.STABLE and waiting:
        return "partitions have no owner in a stable group: restart its workers one by one with SIGHUP"
    return None


async def look(settings: OpsSettings, seconds: float, groups: Sequence[Group] = GROUPS) -> list[GroupReport]:
    """Look at the groups twice, `seconds` apart. Reads only.

    Without Redis, positions in it are not known. Raises KafkaError, and TopicsError if a topic is missing or
    Kafka does not answer.
    """
    specs = [topic(name) for name in dict.fromkeys(group.topic for group in groups)]
    await require(settings, partitions=settings.partitions, others=settings.other_partitions, specs=specs)
    async with AIOKafkaConsumer(**settings.client_options(), auto_offset_reset="earliest") as consumer:
        admin = AIOKafkaAdminClient(**settings.client_options())
        await admin.start()
        try:
            first = await _sample(settings, groups, admin, consumer)
            await asyncio.sleep(seconds)
            described = {group.name: await _describe(admin, group) for group in groups}
            last = await _sample(settings, groups, admin, consumer)
            written = await _written(groups, consumer, last)
        finally:
            await admin.close()
    return [
        report(
            group,
            described[group.name],
            first[group.name],
            last[group.name],
            {
                partition: written[position]
                for partition, offset in last[group.name].positions.items()
                if (position := _Position(group.topic, partition, offset)) in written
            },
        )
        for group in groups
    ]


async def _describe(admin: AIOKafkaAdminClient, group: Group) -> tuple[GroupState, list[Member]]:
    # One at a time: aiokafka 0.14 misreads an answer about several.
    (answer,) = await admin.describe_consumer_groups([group.name])
    _, _, state, _, _, members = answer.groups[0]
    return _STATES.get(state, GroupState.UNKNOWN), sorted(
        (_member(group.topic, *member) for member in members),
        key=lambda member: (member.instance_id or "", member.host),
    )


def _member(
    topic: str, member_id: str, client_id: str, address: str, _metadata: bytes, assignment: bytes
) -> Member:
    """A member as the broker describes it; its id is instance id or client id, and a UUID."""
    name = member_id[:-_UUID]
    # While the group rebalances there is no assignment.
    assigned = ConsumerProtocolMemberAssignment.decode(assignment).partitions() if assignment else []
    return Member(
        instance_id=None if name == client_id else name,
        host=client_id,
        address=address.lstrip("/"),
        partitions=sorted(place.partition for place in assigned if place.topic == topic),
    )


async def _sample(
    settings: OpsSettings, groups: Sequence[Group], admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer
) -> dict[str, Sample]:
    # On a busy machine each answer takes seconds: every group's positions have a time of their own.
    positions: dict[str, tuple[float, dict[int, int]]] = {}
    for group in groups:
        if not group.position_in_redis:
            committed = await committed_offsets(admin, group.name)
            own_offsets = {
                place.partition: offset for place, offset in committed.items() if place.topic == group.topic
            }
            positions[group.name] = time.time(), own_offsets
    positions |= await _positions_in_redis(settings, groups)
    places = [
        TopicPartition(topic, partition)
        for topic in {group.topic for group in groups}
        for partition in range(settings.partitions_of(topic))
    ]
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    samples = {}
    for group in groups:
        own = [place for place in places if place.topic == group.topic]
        # A group that has committed nothing of a partition reads it from its beginning.
        unread = {} if group.position_in_redis else {place.partition: begins[place] for place in own}
        at_s, known = positions[group.name]
        samples[group.name] = Sample(at_s, unread | known, {place.partition: ends[place] for place in own})
    return samples


async def _positions_in_redis(
    settings: OpsSettings, groups: Sequence[Group]
) -> dict[str, tuple[float, dict[int, int]]]:
    found: dict[str, tuple[float, dict[int, int]]] = {
        group.name: (time.time(), {}) for group in groups if group.position_in_redis
    }
    if not found:
        return found
    client = PipelinedClient(settings, name="cartstream-workers")
    try:
        async with asyncio.timeout(_REDIS_TIMEOUT_S):
            await client.connect()
            carts, catalogue = CartStore(client, Layout(settings.partitions)), ProductCache(client)
            for group in found:
                if group == REDIS_SINK:
                    asked = [carts.followed(partition) for partition in range(settings.partitions)]
                    followed = await asyncio.gather(*asked)
                    positions = {
                        partition: position
                        for partition, position in enumerate(followed)
                        if position is not None
                    }
                else:
                    positions = await catalogue.positions(settings.partitions_of(PRODUCTS.name))
                found[group] = time.time(), positions
    except (StoreError, TimeoutError):
        pass  # the report says that they are not known
    finally:
        await client.close()
    return found


async def _written(
    groups: Sequence[Group], consumer: AIOKafkaConsumer, samples: Mapping[str, Sample]
) -> dict[_Position, float]:
    """When the first record at each position was written (Unix time)."""
    wanted = {
        _Position(group.topic, partition, offset)
        for group in groups
        for partition, offset in samples[group.name].positions.items()
        if offset < samples[group.name].ends.get(partition, 0)
    }
    written: dict[_Position, float] = {}
    while wanted:
        # Two groups may stand at different offsets of one partition: one of them at a time.
        some = {TopicPartition(each.topic, each.partition): each for each in wanted}
        wanted -= set(some.values())
        written |= await _first_records(consumer, some)
    return written


async def _first_records(
    consumer: AIOKafkaConsumer, places: Mapping[TopicPartition, _Position]
) -> dict[_Position, float]:
    written: dict[_Position, float] = {}
    consumer.assign(list(places))
    for source, position in places.items():
        consumer.seek(source, position.offset)
    deadline = time.monotonic() + _RECORDS_WITHIN_S
    while len(written) < len(places) and time.monotonic() < deadline:
        for source, records in (await consumer.getmany(timeout_ms=200)).items():
            written.setdefault(places[source], records[0].timestamp / 1000)
            consumer.pause(source)
    return written
