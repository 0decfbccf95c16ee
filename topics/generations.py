"""The generations of the topics of carts: which there are, which is open, making and closing one.

Carts are where the open generation is. One that is closed takes no changes (topics.plan.CLOSED), so whether
it is open stands in Kafka itself, and opening the next one is a single step.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from topics.cluster import Cluster
from topics.errors import TopicsRefusedError
from topics.names import of_carts
from topics.plan import CLOSED, CLOSED_SETTING, is_closed
from topics.registry import CART_CHANGED, CART_TOPICS, CARTS, TopicSpec, in_generation

_MANY: Final = "cart-changed"
_POLL_S: Final = 0.05
_LEADERS_WITHIN_S: Final = 30.0
_GONE_WITHIN_S: Final = 30.0


class Generation(msgspec.Struct, frozen=True):
    """One generation of the topics of carts, as the cluster has it; `replicas` are copies of each record."""

    number: int
    partitions: int
    replicas: int
    is_open: bool


async def generations(connection: Cluster) -> dict[int, Generation]:
    """All generations that the cluster has, by number. Raises TopicsError.

    One without `carts` is not open: where brokers create topics on their own (auto.create.topics.enable) a
    gateway that waits for its generation has them create `cart-changed` alone.
    """
    first = of_carts(_MANY, 1)
    numbers = [
        1 if name == first else int(name.removeprefix(f"{first}.g"))
        for name in await connection.names()
        if name == first or (name.startswith(f"{first}.g") and name.removeprefix(f"{first}.g").isdigit())
    ]
    specs = {number: in_generation(CART_CHANGED, number) for number in sorted(numbers)}
    states = [in_generation(CARTS, number) for number in specs]
    topics = (await connection.observe([*specs.values(), *states])).topics
    return {
        number: Generation(
            number,
            topics[spec.name].partitions,
            topics[spec.name].replicas,
            is_open=carts_of(number) in topics and not is_closed(topics[spec.name]),
        )
        for number, spec in specs.items()
        if spec.name in topics
    }


async def make(connection: Cluster, number: int, partitions: int, replicas: int) -> None:
    """Make the topics of a generation, closed, and wait for their leaders. Raises TopicsRefusedError."""
    specs = _topics(number)
    changed, *others = specs
    closed = msgspec.structs.replace(changed, settings={**changed.settings, CLOSED_SETTING: CLOSED})
    refused = await connection.create([closed, *others], partitions=partitions, replicas=replicas)
    if any(each.setting == CLOSED_SETTING for each in refused):
        raise TopicsRefusedError(_cannot_close(changed.name))
    await connection.until_led(specs, partitions=partitions, seconds=_LEADERS_WITHIN_S)
    await _until_seen(connection, changed.name, CLOSED)


async def remaining(connection: Cluster, number: int) -> list[str]:
    """Which topics of a generation there are: all, or what is left."""
    return sorted(await connection.names() & {spec.name for spec in _topics(number)})


async def remove(connection: Cluster, number: int) -> None:
    """Delete the topics of a generation and wait until they are gone. Raises TopicsRefusedError.

    Of an interruption `cart-changed` is left, by which the generation is found again.
    """
    first = in_generation(CART_CHANGED, number).name
    there = await remaining(connection, number)
    if others := [name for name in there if name != first]:
        await connection.delete(others)
    if first in there:
        await connection.delete([first])
    try:
        async with asyncio.timeout(_GONE_WITHIN_S):
            while there := await remaining(connection, number):  # noqa: ASYNC110  no broker tells
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise TopicsRefusedError(
            f"{', '.join(there)} are still there {_GONE_WITHIN_S:.0f} s after they were deleted: stop the "
            f"processes of generation {number}, or set auto.create.topics.enable=false on the brokers"
        ) from error


async def may_be_closed(connection: Cluster, generation: Generation) -> None:
    """Raises TopicsRefusedError if the cluster does not let this client close it. Changes nothing."""
    await _set(connection, generation.number, CLOSED, validate_only=True)


async def close(connection: Cluster, generation: Generation) -> None:
    """Let nobody write changes to it any more; returns when all brokers know. Raises TopicsRefusedError."""
    await _set(connection, generation.number, CLOSED)
    await _until_seen(connection, in_generation(CART_CHANGED, generation.number).name, CLOSED)


async def open_(connection: Cluster, generation: Generation) -> None:
    """Let changes be written to the generation. Raises TopicsRefusedError."""
    spec = in_generation(CART_CHANGED, generation.number)
    value = spec.configs(replicas=generation.replicas)[CLOSED_SETTING]
    await _set(connection, generation.number, value)
    await _until_seen(connection, spec.name, value)


def carts_of(number: int) -> str:
    """The topic of states of a generation."""
    return in_generation(CARTS, number).name


def _topics(number: int) -> Sequence[TopicSpec]:
    return [in_generation(spec, number) for spec in CART_TOPICS]


async def _set(connection: Cluster, number: int, value: str, *, validate_only: bool = False) -> None:
    name = in_generation(CART_CHANGED, number).name
    if await connection.alter({name: {CLOSED_SETTING: value}}, validate_only=validate_only):
        raise TopicsRefusedError(_cannot_close(name))


async def _until_seen(connection: Cluster, topic: str, value: str) -> None:
    while await connection.setting_at_brokers(topic, CLOSED_SETTING) != {value}:  # noqa: ASYNC110  no broker tells
        await asyncio.sleep(_POLL_S)


def _cannot_close(topic: str) -> str:
    return (
        f"the cluster does not let this user set {CLOSED_SETTING} of {topic} to {CLOSED}, by which the topic "
        "is closed: without it carts cannot be moved safely"
    )
