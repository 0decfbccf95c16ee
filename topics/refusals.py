"""Settings that a cluster refuses, as managed ones do, and what it means to go without them. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from topics.plan import UNKNOWN, Difference, Observed, Severity, Wanted
from topics.registry import CART_CHANGED, Cleanup, TopicSpec


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the cluster does not take for a topic, in its own words.

    `permitted` is false if it says that this user may not alter the topic: another one may.
    """

    topic: str
    setting: str
    reason: str
    permitted: bool = True


_FROZEN: Final = "message.timestamp.before.max.ms"
_MEANS: Final = {
    "cleanup.policy": "old records are not kept as they must be: carts get lost, use another cluster",
    "max.message.bytes": "large records become dead letters",
    "message.timestamp.type": "a worker that was frozen can make an older state outlast a newer one",
    _FROZEN: "a process that was frozen may publish late: readers get an older version after a newer one",
    "message.timestamp.after.max.ms": "a clock that runs ahead is not found out",
    "min.insync.replicas": "a record may be acknowledged while only one broker has it",
    "unclean.leader.election.enable": "after failures a broker that lacks records may become the leader",
    "min.compaction.lag.ms": "a worker that was frozen can make an older state outlast a newer one",
    "max.compaction.lag.ms": "what was erased or replaced may stay on disk for longer than promised",
    "min.cleanable.dirty.ratio": "the topic is larger than it need be, and restores take longer",
    "segment.bytes": "the topic is larger than it need be, and restores take longer",
    "delete.retention.ms": "a reader that was away may miss that a cart or product was deleted",
    "retention.ms": "records are kept for longer, or shorter, than promised",
}
_SEGMENT_MS: Final = {
    Cleanup.COMPACT: "the topic keeps its newest changes until a segment is full: restores take longer",
    Cleanup.DELETE: "what was erased may stay on disk for longer than promised",
}


def meaning(spec: TopicSpec, setting: str) -> str:
    """What it means that the topic goes without the setting."""
    if (spec.name, setting) == (CART_CHANGED.name, _FROZEN):
        return "a gateway that was frozen may publish too late: a change that was retried can count twice"
    if setting == "segment.ms":
        return _SEGMENT_MS[spec.cleanup]
    return _MEANS.get(setting, "the topic is not as it was designed")


def breaks_promise(spec: TopicSpec, setting: str) -> bool:
    """Whether changes can get lost or count twice without the setting."""
    return setting in {"cleanup.policy", "min.insync.replicas"} or (
        setting == _FROZEN and spec.name == CART_CHANGED.name
    )


def without(differences: Sequence[Difference], refused: Collection[Refused]) -> list[Difference]:
    """The differences that no refusal explains."""
    explained = {(each.topic, each.setting) for each in refused}
    return [diff for diff in differences if (diff.topic, diff.setting) not in explained]


def named(
    refused: Sequence[Refused], observed: Observed, specs: Sequence[TopicSpec], wanted: Wanted
) -> list[Difference]:
    """What the topics go without, and what that means, as differences.

    Warnings, unless changes can get lost or count twice. A setting that has the right value anyway is none.
    """
    found = []
    by_name = {spec.name: spec for spec in specs}
    for each in refused:
        spec, topic = by_name[each.topic], observed.topics.get(each.topic)
        expected = spec.configs(replicas=topic.replicas if topic else wanted.copies(observed))[each.setting]
        value = topic.configs.get(each.setting, UNKNOWN) if topic else "the cluster's"
        if value != expected:
            why = "the cluster refuses it" if each.permitted else "this user may not set it"
            found.append(
                Difference(
                    topic=each.topic,
                    setting=each.setting,
                    expected=expected,
                    found=value,
                    severity=wanted.safety if breaks_promise(spec, each.setting) else Severity.WARNING,
                    advice=f"{why} ({each.reason.rstrip('.')}). Without it: {meaning(spec, each.setting)}",
                )
            )
    return found
