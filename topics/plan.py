"""What differs between the topics of a cluster and the registry. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from topics.registry import CART_CHANGED, TopicSpec, partitions_of

SAFE_IN_SYNC: Final = 2
"""Copies that must have a record before it is acknowledged: with fewer it may be on one disk only."""

UNKNOWN: Final = "unknown to this broker"
"""What is found of a setting that the broker does not have."""

CLOSED_SETTING: Final = "max.message.bytes"
CLOSED: Final = "0"
"""The largest record that a closed topic takes: the broker refuses all.

So `cart-changed` is closed while its carts move to another generation and afterwards (ops.repartition), and
whoever was frozen meanwhile writes nothing to a generation that is over.
"""

SAFE_REPLICAS: Final = 3
"""Copies of a record with which one broker may be down for repair while another one fails."""


class Severity(StrEnum):
    """Whether a difference must be repaired before production traffic."""

    ERROR = "error"
    WARNING = "warning"


class ObservedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the cluster shows it: `configs` are all its settings, and none if it may not be asked.

    `behind` says of each partition whose copies are not all in sync how many are.
    """

    partitions: int
    replicas: int
    leaderless: tuple[int, ...] = ()
    behind: dict[int, int] = {}
    configs: dict[str, str]


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as far as its topics depend on it."""

    brokers: int
    auto_create: bool
    topics: dict[str, ObservedTopic]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How the topics are laid out: partitions of each, copies of each (None: three, or as many as brokers).

    `others` are the partitions of the topics that are not of carts; None: as many.

    `safety` says what a cluster that keeps too few copies is: an error, or in development a warning.
    """

    partitions: int
    others: int | None = None
    replicas: int | None = None
    safety: Severity = Severity.ERROR

    def copies(self, observed: Observed) -> int:
        """Copies a new topic gets in this cluster."""
        return self.replicas or min(SAFE_REPLICAS, observed.brokers)

    def partitions_of(self, spec: TopicSpec) -> int:
        """Partitions that a topic must have."""
        return partitions_of(spec.name, self.partitions, self.others)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be: where, what, and what to do."""

    topic: str
    setting: str
    expected: str
    found: str
    severity: Severity = Severity.ERROR
    advice: str


def missing(observed: Observed, specs: Sequence[TopicSpec]) -> list[TopicSpec]:
    """The topics the cluster does not have."""
    return [spec for spec in specs if spec.name not in observed.topics]


def outdated(observed: Observed, specs: Sequence[TopicSpec]) -> list[Difference]:
    """Settings of existing topics that `apply` changes."""
    found = []
    for spec in specs:
        topic = observed.topics.get(spec.name)
        if topic is None or not topic.configs:
            continue
        for setting, expected in spec.configs(replicas=topic.replicas).items():
            value = topic.configs.get(setting, UNKNOWN)
            if value != expected and not (setting == CLOSED_SETTING and value == CLOSED):
                found.append(
                    Difference(
                        topic=spec.name,
                        setting=setting,
                        expected=expected,
                        found=value,
                        advice="run `cartstream topics apply`",
                    )
                )
    return found


def unreadable(observed: Observed, specs: Sequence[TopicSpec]) -> list[Difference]:
    """Topics whose settings nobody can compare."""
    return [
        Difference(
            topic=spec.name,
            setting="(all)",
            expected="readable",
            found="not permitted",
            severity=Severity.WARNING,
            advice="let this user describe and alter the topic's settings, or compare them by hand",
        )
        for spec in specs
        if spec.name in observed.topics and not observed.topics[spec.name].configs
    ]


def fixed(observed: Observed, specs: Sequence[TopicSpec], wanted: Wanted) -> list[Difference]:
    """Differences that only the operator can resolve."""
    found = []
    for spec in specs:
        topic = observed.topics.get(spec.name)
        expected = wanted.partitions_of(spec)
        if topic is not None and topic.partitions != expected:
            of_carts = wanted.others is None or expected != wanted.others
            variable = "CARTSTREAM_PARTITIONS" if of_carts else "CARTSTREAM_OTHER_PARTITIONS"
            found.append(
                Difference(
                    topic=spec.name,
                    setting="partitions",
                    expected=str(expected),
                    found=str(topic.partitions),
                    advice="keys hash to partitions, so the number is fixed for the life of the topics: "
                    f"set {variable}={topic.partitions}, or move carts to new topics with "
                    "`cartstream topics repartition`",
                )
            )
    return found


def is_closed(topic: ObservedTopic) -> bool:
    """Whether nobody can write to the topic (CLOSED); not known to whoever may not see its settings."""
    return topic.configs.get(CLOSED_SETTING) == CLOSED


def closed(observed: Observed) -> list[Difference]:
    """That the topics of carts are closed, if they are."""
    topic = observed.topics.get(CART_CHANGED.name)
    if topic is None or not is_closed(topic):
        return []
    return [
        Difference(
            topic=CART_CHANGED.name,
            setting="generation",
            expected="open",
            found="closed",
            advice="carts are moved to another number of partitions, or have been: see what "
            "`cartstream topics check` says of the generations, and set CARTSTREAM_GENERATION",
        )
    ]


def unsafe(observed: Observed, specs: Sequence[TopicSpec], wanted: Wanted) -> list[Difference]:
    """Whatever lets the cluster lose a record that it has acknowledged, or invent a topic."""
    copies = wanted.copies(observed)
    found = []
    if copies < SAFE_REPLICAS and missing(observed, specs):
        found.append(
            _unsafe(
                "(cluster)",
                "brokers",
                f"at least {SAFE_REPLICAS}",
                str(observed.brokers),
                wanted,
                "add brokers, or in development use --allow-single",
            )
        )
    for spec in specs:
        topic = observed.topics.get(spec.name)
        if topic is not None:
            found += _unsafe_topic(spec.name, topic, wanted)
    if observed.auto_create:
        advice = "set auto.create.topics.enable=false on the brokers: a misspelt topic must be an error"
        found.append(_unsafe("(cluster)", "auto.create.topics.enable", "false", "true", wanted, advice))
    return found


def _unsafe_topic(name: str, topic: ObservedTopic, wanted: Wanted) -> list[Difference]:
    found = []
    in_sync = topic.configs.get("min.insync.replicas", "1")
    if topic.replicas < SAFE_REPLICAS:
        advice = "add replicas with kafka-reassign-partitions, or delete it while it is empty and apply again"
        found.append(
            _unsafe(name, "replication", f"at least {SAFE_REPLICAS}", str(topic.replicas), wanted, advice)
        )
    elif topic.configs and int(in_sync) < SAFE_IN_SYNC:
        advice = "run `cartstream topics apply`"
        found.append(
            _unsafe(name, "min.insync.replicas", f"at least {SAFE_IN_SYNC}", in_sync, wanted, advice)
        )
    found += _behind(name, topic, int(in_sync))
    if topic.leaderless:
        partitions = ", ".join(str(partition) for partition in topic.leaderless)
        found.append(
            Difference(
                topic=name,
                setting="leaders",
                expected="one for each partition",
                found=f"none for {partitions}",
                advice="see whether the brokers that hold these partitions are running",
            )
        )
    return found


def _behind(name: str, topic: ObservedTopic, needed: int) -> list[Difference]:
    """Partitions that lack copies, and those that nothing is written to for that."""
    by_copies: dict[int, list[str]] = {}
    for partition, copies in sorted(topic.behind.items()):
        if partition not in topic.leaderless:
            by_copies.setdefault(copies, []).append(str(partition))
    if not by_copies:
        return []
    stopped = min(by_copies) < needed
    advice = "see whether all brokers are running; one that has come back needs a while to catch up"
    return [
        Difference(
            topic=name,
            setting="copies in sync",
            expected=f"{topic.replicas} for each partition",
            found="; ".join(f"{copies} for {', '.join(by_copies[copies])}" for copies in sorted(by_copies)),
            severity=Severity.ERROR if stopped else Severity.WARNING,
            advice=f"nothing is written with fewer than {needed}: {advice}" if stopped else advice,
        )
    ]


def _unsafe(topic: str, setting: str, expected: str, found: str, wanted: Wanted, advice: str) -> Difference:
    return Difference(
        topic=topic, setting=setting, expected=expected, found=found, severity=wanted.safety, advice=advice
    )
