"""Lists, replays and drops dead letters."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiokafka import TopicPartition

from carts.protocol import publish_allowed
from ops.carts_index import CartsIndex
from ops.dead_letter_topic import (
    Action,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterId,
    Handled,
    Judgement,
    Listed,
    Mark,
    judge,
    mark_headers,
    may_be_replayed,
    read,
)
from ops.progress import Bars, silent
from ops.settings import OpsSettings
from runtime.kafka.ranges import OffsetRange, RangeReader, Record
from store.redis import CartStore, Layout, PipelinedClient
from topics.publishing import Publisher
from topics.registry import CART_CHANGED, DEAD_LETTERS

_WITHOUT_VALUE = partial(msgspec.structs.replace, value=None)


class Result(msgspec.Struct, frozen=True):
    """What was done with a dead letter, or would be in a dry run."""

    letter: str
    done: str
    detail: str


async def find(settings: OpsSettings, wanted: DeadLetterFilter, bars: Bars) -> list[Listed]:
    """Dead letters that pass the filter, without values, with their marks. Raises KafkaError, ReadStalled."""
    found: list[Listed] = []
    async with RangeReader(settings) as reader:
        for partition in range(settings.partitions_of(DEAD_LETTERS.name)):
            if (begin := wanted.begin_in(partition)) is not None:
                found += await _find_in(reader, partition, begin, wanted, bars)
    return found


async def fetch(settings: OpsSettings, at: DeadLetterId) -> Listed | None:
    """The dead letter with its value; None if there is none at that offset."""
    found = await find(settings, DeadLetterFilter(ids=frozenset({at})), silent)
    return await with_value(settings, found[0]) if found else None


async def with_value(settings: OpsSettings, listed: Listed) -> Listed | None:
    """A dead letter of a list with its value and headers; None if retention has taken it meanwhile."""
    async with RangeReader(settings) as reader:
        whole = await _whole(reader, listed.letter)
    return None if whole is None else Listed(whole, listed.mark)


def understood(record: Record) -> DeadLetter | Mark | None:
    """What a record of `dead-letters` is; None for an unreadable mark."""
    return read(DeadLetterId(record.partition, record.offset), record.key, record.value, record.headers)


async def replay(
    settings: OpsSettings, listed: Sequence[Listed], bars: Bars, *, dry_run: bool
) -> list[Result]:
    """Write source records back into their topic, changes of carts judged by what compaction would do now.

    Dead letters that were handled are left alone. Nothing is published past a backlog: what is
    behind one is refused until the gateway has drained it.

    Raises StoreError, KafkaError, ReadStalled, TimeoutError.
    """
    results = [_already(each.letter, each.mark) for each in listed if each.mark is not None]
    dead_letters = [each.letter for each in listed if each.mark is None]
    async with (
        RangeReader(settings) as reader,
        PipelinedClient(settings, name="cartstream-dlq") as client,
        Publisher(settings) as publisher,
    ):
        store = CartStore(client, Layout(settings.partitions))
        indexes = await _indexes(settings, reader, dead_letters, bars)
        advance = bars("replaying", len(dead_letters))
        for dead_letter in dead_letters:
            whole = await _whole(reader, dead_letter)
            judgement = (
                Judgement(Action.REFUSE, "retention has taken it meanwhile")
                if whole is None
                else await _behind_backlog(store, whole, _judge(settings, whole, indexes))
            )
            if whole is not None and not dry_run:
                judgement = await _carry_out(publisher, whole, judgement)
            results.append(
                Result(str(dead_letter.id), _said(judgement.action, dry_run=dry_run), judgement.detail)
            )
            advance(1)
    return results


async def drop(settings: OpsSettings, listed: Sequence[Listed], *, dry_run: bool) -> list[Result]:
    """Mark dead letters as dropped: they are not listed any more. Raises KafkaError, TimeoutError."""
    results = [_already(each.letter, each.mark) for each in listed if each.mark is not None]
    async with Publisher(settings) as publisher:
        for each in listed:
            if each.mark is not None:
                continue
            if not dry_run:
                await _mark(publisher, each.letter, Handled.DROPPED, "dropped by an operator")
            done = "would drop" if dry_run else "dropped"
            results.append(Result(str(each.letter.id), done, each.letter.source))
    return results


async def _find_in(
    reader: RangeReader, partition: int, begin: int, wanted: DeadLetterFilter, bars: Bars
) -> list[Listed]:
    place = TopicPartition(DEAD_LETTERS.name, partition)
    first, end = await reader.bounds(place)
    bounds = OffsetRange(max(first, begin), end)
    if not bounds.size:
        return []
    advance = bars(f"dead-letters/{partition}", bounds.size)
    dead_letters: list[DeadLetter] = []
    marks: dict[DeadLetterId, Mark] = {}
    async for records in reader.read({place: bounds}):
        for record in records:
            match understood(record):
                case DeadLetter() as dead_letter if wanted.matches(dead_letter):
                    dead_letters.append(_WITHOUT_VALUE(dead_letter))
                case Mark() as mark:
                    marks[mark.letter] = mark
        advance(len(records))
    return [Listed(dead_letter, marks.get(dead_letter.id)) for dead_letter in dead_letters]


async def _indexes(
    settings: OpsSettings, reader: RangeReader, dead_letters: Iterable[DeadLetter], bars: Bars
) -> dict[int, CartsIndex]:
    """What `carts` says of the carts that the dead letters belong to, by partition."""
    carts: defaultdict[int, set[str]] = defaultdict(set)
    for dead_letter in dead_letters:
        first = may_be_replayed(dead_letter, settings.partitions, settings.other_partitions)
        if first.partition is not None and dead_letter.topic == CART_CHANGED.name:
            carts[first.partition].add(dead_letter.key_text)
    indexes = {}
    for partition, wanted in sorted(carts.items()):
        indexes[partition] = CartsIndex(partition, settings.partitions)
        bar = bars(f"carts/{partition}", await indexes[partition].left(reader))
        await indexes[partition].read(reader, bar, only=wanted)
    return indexes


def _judge(settings: OpsSettings, dead_letter: DeadLetter, indexes: dict[int, CartsIndex]) -> Judgement:
    first = may_be_replayed(dead_letter, settings.partitions, settings.other_partitions)
    if first.partition is None or dead_letter.topic != CART_CHANGED.name:
        return first
    index = indexes[first.partition]
    entry = index.entries.get(dead_letter.key_text)
    held = None if entry is None else entry.value
    return judge(dead_letter, held, index.purge_floor, settings.partitions, settings.rules)


async def _behind_backlog(store: CartStore, dead_letter: DeadLetter, judgement: Judgement) -> Judgement:
    if judgement.action is not Action.PUBLISH or dead_letter.topic != CART_CHANGED.name:
        return judgement
    backlog_us = max(
        (depth.oldest_us for depth in await store.outbox_depths() if depth.partition == judgement.partition),
        default=0,
    )
    if publish_allowed(backlog_us):
        return judgement
    return Judgement(
        Action.REFUSE,
        f"changes of partition {judgement.partition} have waited in the outbox for "
        f"{backlog_us // 1_000_000} s and go first: see that a gateway and Kafka run, then replay again",
    )


async def _carry_out(publisher: Publisher, dead_letter: DeadLetter, judgement: Judgement) -> Judgement:
    """Publish, then mark. After a crash in between it is published twice, which the fold ignores."""
    if judgement.action is Action.REFUSE or judgement.partition is None:
        return judgement
    detail = judgement.detail
    if judgement.action is Action.PUBLISH:
        offset = await publisher.publish(
            dead_letter.topic, judgement.partition, dead_letter.key, dead_letter.value, dead_letter.headers
        )
        detail = f"published as {dead_letter.topic}/{judgement.partition}/{offset}"
    await _mark(publisher, dead_letter, Handled.REPLAYED, detail)
    return msgspec.structs.replace(judgement, detail=detail)


async def _mark(publisher: Publisher, dead_letter: DeadLetter, handled: Handled, detail: str) -> None:
    mark = Mark(dead_letter.id, handled, detail, datetime.now(UTC).isoformat())
    await publisher.publish(
        DEAD_LETTERS.name, dead_letter.id.partition, dead_letter.key, None, mark_headers(mark)
    )


async def _whole(reader: RangeReader, dead_letter: DeadLetter) -> DeadLetter | None:
    place, offset = TopicPartition(DEAD_LETTERS.name, dead_letter.id.partition), dead_letter.id.offset
    first, end = await reader.bounds(place)
    if first <= offset < end:
        async for records in reader.read({place: OffsetRange(offset, offset + 1)}):
            found = understood(records[0])
            return found if isinstance(found, DeadLetter) else None
    return None


def _already(dead_letter: DeadLetter, mark: Mark | None) -> Result:
    handled, when = (mark.handled, mark.time) if mark is not None else ("", "")
    return Result(str(dead_letter.id), "left alone", f"{handled} already, at {when}")


def _said(action: Action, *, dry_run: bool) -> str:
    if action is Action.REFUSE:
        return "refused"
    return "would replay" if dry_run else "replayed"
