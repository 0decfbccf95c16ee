"""Dead letters and their marks: how they are read, filtered and judged for a replay. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from carts.fold import Verdict
from streams.decisions import ChangeSource, RefusalCode, Rules, decide
from topics.headers import Headers
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, CARTS, ORDERS, PRODUCTS, now_called, partitions_of

PREFIX: Final = "dlq_"
_LETTER_OF_MARK: Final = "dlq_letter"


class Handled(StrEnum):
    """How an operator has handled a dead letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


class DeadLetterId(msgspec.Struct, frozen=True, order=True):
    """Where a dead letter stands in `dead-letters`; written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @staticmethod
    def parse(text: str) -> "DeadLetterId":
        """The id behind `partition:offset`. Raises ValueError."""
        partition, _, offset = text.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise ValueError(f"{text!r} is no letter: use partition:offset as `cartstream dlq list` shows it")
        return DeadLetterId(int(partition), int(offset))


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: the source record, and why and where it was given up.

    `headers` are those of the source record. What a foreign record does not say is empty.
    """

    id: DeadLetterId
    key: bytes | None
    value: bytes | None
    size: int
    headers: Headers
    code: str
    detail: str
    topic: str
    source_partition: str
    source_offset: str
    time: str
    agent: str

    @property
    def source(self) -> str:
        """`topic/partition/offset` of the source record."""
        return f"{self.topic}/{self.source_partition}/{self.source_offset}"

    @property
    def key_text(self) -> str:
        """The key, readable."""
        return "" if self.key is None else self.key.decode(errors="backslashreplace")


class Mark(msgspec.Struct, frozen=True):
    """An operator has handled a dead letter."""

    letter: DeadLetterId
    handled: Handled
    detail: str
    time: str


def read(
    at: DeadLetterId, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> DeadLetter | Mark | None:
    """The dead letter or mark that a record of `dead-letters` is; None for an unreadable mark."""
    pairs = list(headers)
    said = {name: (text or b"").decode(errors="replace") for name, text in pairs if name.startswith(PREFIX)}
    if _LETTER_OF_MARK in said:
        try:
            return Mark(
                DeadLetterId.parse(said[_LETTER_OF_MARK]),
                Handled(said.get("dlq_handled", "")),
                said.get("dlq_detail", ""),
                said.get("dlq_time", ""),
            )
        except ValueError:
            return None
    return DeadLetter(
        id=at,
        key=key,
        value=value,
        size=len(value or b""),
        headers=[(name, text or b"") for name, text in pairs if not name.startswith(PREFIX)],
        code=said.get("dlq_error_code", ""),
        detail=said.get("dlq_error_detail", ""),
        topic=now_called(said.get("dlq_source_topic", "")),
        source_partition=said.get("dlq_source_partition", ""),
        source_offset=said.get("dlq_source_offset", ""),
        time=said.get("dlq_time", ""),
        agent=said.get("dlq_agent", ""),
    )


def mark_headers(mark: Mark) -> Headers:
    """The headers of the record that says it (topics.records.LetterMarkHeaders)."""
    return [
        (_LETTER_OF_MARK, str(mark.letter).encode()),
        ("dlq_handled", mark.handled.encode()),
        ("dlq_detail", mark.detail.encode()),
        ("dlq_time", mark.time.encode()),
    ]


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters an operator asks for; None is all. `after` is the end of the previous page."""

    topic: str | None = None
    code: str | None = None
    keys: frozenset[str] | None = None
    ids: frozenset[DeadLetterId] = frozenset()
    after: DeadLetterId | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether the dead letter passes the filter."""
        return (
            (self.topic is None or dead_letter.topic == self.topic)
            and (self.code is None or dead_letter.code == self.code)
            and (self.keys is None or dead_letter.key_text in self.keys)
            and (not self.ids or dead_letter.id in self.ids)
            and (self.after is None or dead_letter.id > self.after)
        )

    def begin_in(self, partition: int) -> int | None:
        """The first offset of a partition that may pass; None: nothing there can. Marks stand behind."""
        if self.ids:
            return min((each.offset for each in self.ids if each.partition == partition), default=None)
        if self.after is None or partition > self.after.partition:
            return 0
        return self.after.offset + 1 if partition == self.after.partition else None


class Listed(msgspec.Struct, frozen=True):
    """A dead letter, and the last mark on it."""

    letter: DeadLetter
    mark: Mark | None


def page(listed: Sequence[Listed], limit: int) -> tuple[list[Listed], DeadLetterId | None]:
    """The first `limit` dead letters in the order of their ids, and the id the next page begins after."""
    ordered = sorted(listed, key=lambda each: each.letter.id)
    shown = ordered[:limit]
    return shown, shown[-1].letter.id if shown and len(ordered) > limit else None


class Action(StrEnum):
    """What a replay does with a dead letter."""

    PUBLISH = "publish"
    KNOWN = "known"
    """Nothing is published: the cart has the change already. The dead letter is marked as replayed."""
    REFUSE = "refuse"
    """The dead letter stays as it is."""


class Judgement(msgspec.Struct, frozen=True):
    """What a replay does with a dead letter and why; `partition` is the right one of the source topic."""

    action: Action
    detail: str
    partition: int | None = None


def may_be_replayed(dead_letter: DeadLetter, partitions: int, others: int | None = None) -> Judgement:
    """First step, by the dead letter alone: whether its record can be replayed, and to which partition.

    `others`: partitions of the topics that are not of carts; None: as many.
    """
    if dead_letter.topic not in {CART_CHANGED.name, ORDERS.name}:
        return _refuse(_elsewhere(dead_letter))
    if dead_letter.key is None:
        return _refuse("the record has no key, so it belongs to nothing: drop it")
    if dead_letter.topic == ORDERS.name:
        detail = "what follows an order happens once, and what was refused is tried again"
        count = partitions_of(ORDERS.name, partitions, others)
        return Judgement(Action.PUBLISH, detail, partition_of(dead_letter.key, count))
    if dead_letter.code == RefusalCode.BELOW_PURGE_FLOOR:
        return _refuse("its cart was deleted, and deleted carts do not come back: drop it")
    return Judgement(Action.PUBLISH, "", partition_of(dead_letter.key, partitions))


def _elsewhere(dead_letter: DeadLetter) -> str:
    """What to do about a record that cannot be replayed."""
    match dead_letter.topic:
        case CARTS.name:
            return (
                "only compaction writes `carts`: repair the cause, run `cartstream rebuild --partition "
                f"{dead_letter.source_partition}` so that Postgres gets what `carts` says now, then drop it"
            )
        case PRODUCTS.name:
            return "an old price must not come last: put the product again through the API, then drop this"
        case _:
            return (
                f"no agent of this version reads {dead_letter.topic or 'a topic it does not name'}: drop it"
            )


def judge(
    dead_letter: DeadLetter, held: bytes | None, purge_floor: int, partitions: int, rules: Rules
) -> Judgement:
    """Second step: what the current compaction would do with the record.

    `held` is the newest `carts` value of its cart, `purge_floor` the highest version ever deleted in the
    record's right partition.
    """
    first = may_be_replayed(dead_letter, partitions)
    if first.partition is None or dead_letter.key is None or dead_letter.topic != CART_CHANGED.name:
        return first
    decision = decide(
        held, purge_floor, ChangeSource(dead_letter.key, dead_letter.value, first.partition, 0), rules
    )
    if decision.refusal is not None:
        return _refuse(f"{decision.refusal.code}: {decision.refusal.detail}")
    match decision.verdict:
        case Verdict.KNOWN:
            return Judgement(Action.KNOWN, "the cart has this change already", first.partition)
        case Verdict.BELOW_FLOOR:
            return _refuse(
                "its cart has gone on for longer than changes are told apart: if the effect is missing make "
                "the change again through the API, then drop the dead letter"
            )
        case _:
            return Judgement(Action.PUBLISH, "compaction can take it now", first.partition)


def _refuse(why: str) -> Judgement:
    return Judgement(Action.REFUSE, why)
