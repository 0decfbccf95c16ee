"""Changes the topics of a cluster to what the registry says, or reports what differs."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.settings import KafkaSettings
from topics.access import Role
from topics.cluster import Cluster, cluster
from topics.errors import TopicsDifferError
from topics.names import GENERATION
from topics.plan import (
    Difference,
    Observed,
    Severity,
    Wanted,
    closed,
    fixed,
    missing,
    outdated,
    unreadable,
    unsafe,
)
from topics.refusals import Refused, named, without
from topics.registry import CART_TOPICS, PARTITIONS, TOPICS, TopicSpec

_LEADERS_WITHIN_SECONDS: Final = 30.0
_SHOWN_WITHIN_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` did: topics created, settings altered, and warnings: refused settings, too few copies."""

    created: list[str]
    altered: list[Difference]
    warnings: list[Difference]


async def apply(
    kafka: KafkaSettings,
    *,
    partitions: int = PARTITIONS,
    others: int | None = None,
    replicas: int | None = None,
    allow_single: bool = False,
    dry_run: bool = False,
    specs: Sequence[TopicSpec] = TOPICS,
) -> Applied:
    """Create what is missing, alter settings that differ, and wait until partitions are led and that is seen.

    Doing it again changes nothing. A setting that the cluster refuses is left out and told. `dry_run` asks
    the cluster and changes nothing. TopicsDifferError before a thing is written if a topic has another number
    of partitions (it is never changed) or, without `allow_single`, if the cluster keeps fewer than three
    copies. TopicsRefusedError if the cluster refuses a topic, ClusterUnreachableError if it does not answer.
    """
    wanted = _wanted(partitions, others, replicas, allow_single=allow_single)
    async with cluster(kafka) as connection:
        observed = await connection.observe(specs)
        _stop_at(
            [
                *fixed(observed, specs, wanted),
                *_of_no_generation(observed, specs),
                *_beyond_apply(unsafe(observed, specs, wanted)),
            ]
        )
        new = missing(observed, specs)
        refused = []
        for count, some in _by_partitions(new, wanted).items():
            refused += await connection.create(
                some, partitions=count, replicas=wanted.copies(observed), validate_only=dry_run
            )
        differences = outdated(observed, specs)
        refused += await connection.alter(_changes(differences), validate_only=dry_run)
        after = observed
        if not dry_run:
            for count, some in _by_partitions(specs, wanted).items():
                await connection.until_led(some, partitions=count, seconds=_LEADERS_WITHIN_SECONDS)
            after = await _once_altered(connection, specs, refused)
    return Applied(
        created=[spec.name for spec in new],
        altered=without(differences, refused),
        warnings=[
            *named(refused, after, specs, wanted),
            *unreadable(after, specs),
            *without(unsafe(after, specs, wanted), refused),
        ],
    )


async def _once_altered(
    connection: Cluster, specs: Sequence[TopicSpec], refused: Sequence[Refused]
) -> Observed:
    """What there is once it has what was altered: a broker learns of settings after the controller.

    A managed cluster may say yes and keep its own; it is not waited for long.
    """
    until = time.monotonic() + _SHOWN_WITHIN_SECONDS
    while True:
        observed = await connection.observe(specs)
        if not without(outdated(observed, specs), refused) or time.monotonic() > until:
            return observed
        await asyncio.sleep(_LOOK_SECONDS)


async def check(
    kafka: KafkaSettings,
    *,
    partitions: int = PARTITIONS,
    others: int | None = None,
    replicas: int | None = None,
    allow_single: bool = False,
    specs: Sequence[TopicSpec] = TOPICS,
) -> list[Difference]:
    """Everything that is not as it must be; empty is good. Warnings are no failure.

    Those are what a cluster refuses without harm to the promise and, with `allow_single`, too few copies.
    ClusterUnreachableError if the cluster does not answer.
    """
    wanted = _wanted(partitions, others, replicas, allow_single=allow_single)
    async with cluster(kafka) as connection:
        observed = await connection.observe(specs)
        differences = outdated(observed, specs)
        asked = await connection.alter(_changes(differences), validate_only=True)
    # Who may only look learns nothing by asking: somebody else may well alter it.
    refused = [each for each in asked if each.permitted]
    return [
        *_absent(observed, specs),
        *fixed(observed, specs, wanted),
        *closed(observed),
        *without(differences, refused),
        *named(refused, observed, specs, wanted),
        *unreadable(observed, specs),
        *without(unsafe(observed, specs, wanted), refused),
    ]


async def require(
    kafka: KafkaSettings,
    *,
    partitions: int,
    others: int | None = None,
    specs: Sequence[TopicSpec],
    role: Role | None = None,
) -> None:
    """What a process asks before it starts: it has its rights, and the topics have its partitions.

    TopicsDifferError if a topic is missing or has others: every key would be in the wrong place.
    ClusterRefusesError without a right of the role, ClusterUnreachableError if the cluster does not answer.
    """
    wanted = Wanted(partitions=partitions, others=others)
    async with cluster(kafka) as connection:
        if role is not None:
            await connection.require_rights(role, specs)
        observed = await connection.observe(specs)
    _stop_at([*_absent(observed, specs), *fixed(observed, specs, wanted)])


def _by_partitions(specs: Sequence[TopicSpec], wanted: Wanted) -> dict[int, list[TopicSpec]]:
    found: defaultdict[int, list[TopicSpec]] = defaultdict(list)
    for spec in specs:
        found[wanted.partitions_of(spec)].append(spec)
    return found


def errors_in(differences: Sequence[Difference]) -> list[Difference]:
    """The differences that must be repaired."""
    return [diff for diff in differences if diff.severity is Severity.ERROR]


def _changes(differences: Sequence[Difference]) -> dict[str, dict[str, str]]:
    changes: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for diff in differences:
        changes[diff.topic][diff.setting] = diff.expected
    return dict(changes)


def _absent(observed: Observed, specs: Sequence[TopicSpec]) -> list[Difference]:
    return [
        Difference(
            topic=spec.name,
            setting="topic",
            expected="exists",
            found="missing",
            advice="run `cartstream topics apply`",
        )
        for spec in missing(observed, specs)
    ]


def _wanted(partitions: int, others: int | None, replicas: int | None, *, allow_single: bool) -> Wanted:
    safety = Severity.WARNING if allow_single else Severity.ERROR
    return Wanted(partitions=partitions, others=others, replicas=replicas, safety=safety)


def _of_no_generation(observed: Observed, specs: Sequence[TopicSpec]) -> list[Difference]:
    """Topics of a later generation that nobody has made: empty ones would be shops without carts."""
    return [
        Difference(
            topic=spec.name,
            setting="generation",
            expected=f"made by `cartstream topics repartition`, as CARTSTREAM_GENERATION={GENERATION} says",
            found="missing",
            advice="set CARTSTREAM_GENERATION to the one before, and run that first",
        )
        for spec in missing(observed, specs)
        if GENERATION > 1 and spec in CART_TOPICS
    ]


def _beyond_apply(differences: Sequence[Difference]) -> list[Difference]:
    """What `apply` cannot change; a setting that it is about to raise is no reason to stop."""
    return [diff for diff in differences if diff.setting != "min.insync.replicas"]


def _stop_at(differences: Sequence[Difference]) -> None:
    errors = errors_in(differences)
    if errors:
        raise TopicsDifferError(errors)
