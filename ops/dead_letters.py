"""Reads the dead letters and their marks, replays and drops letters."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiokafka import TopicPartition

from carts.protocol import publish_allowed
from ops.carts_topic import Ledger
from ops.dead_letter_topic import (
    Action,
    Handled,
    Judgement,
    Letter,
    LetterId,
    Listed,
    Mark,
    Wanted,
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
    """What was, or in a dry run would be, done with a letter."""

    letter: str
    done: str
    detail: str


async def find(settings: OpsSettings, wanted: Wanted, bars: Bars) -> list[Listed]:
    """The letters that are meant, without their values, with their marks. Raises KafkaError, ReadStalled."""
    found: list[Listed] = []
    asked = {letter.partition for letter in wanted.ids}
    async with RangeReader(settings) as reader:
        for partition in sorted(asked) or range(settings.partitions):
            found += await _find_in(reader, partition, wanted, bars)
    return found


async def fetch(settings: OpsSettings, at: LetterId) -> Listed | None:
    """The letter with its value; None if there is none at that place."""
    found = await find(settings, Wanted(ids=frozenset({at})), silent)
    async with RangeReader(settings) as reader:
        for each in found:
            whole = await _whole(reader, each.letter)
            return None if whole is None else Listed(whole, each.mark)
    return None


async def replay(
    settings: OpsSettings, listed: Sequence[Listed], bars: Bars, *, dry_run: bool
) -> list[Result]:
    """Write source records back into their topic, changes of carts judged by what compaction would do now.

    Letters that were dealt with are left alone. Nothing is published past a backlog: its letters are
    refused until the gateway has drained it. Raises StoreError, KafkaError, ReadStalled, TimeoutError.
    """
    results = [_already(each.letter, each.mark) for each in listed if each.mark is not None]
    letters = [each.letter for each in listed if each.mark is None]
    async with (
        RangeReader(settings) as reader,
        PipelinedClient(settings, name="cartstream-dlq") as client,
        Publisher(settings) as publisher,
    ):
        store = CartStore(client, Layout(settings.partitions))
        ledgers = await _ledgers(settings, reader, letters, bars)
        advance = bars("replaying", len(letters))
        for letter in letters:
            whole = await _whole(reader, letter)
            judgement = (
                Judgement(Action.REFUSE, "retention has taken it meanwhile")
                if whole is None
                else await _behind_backlog(store, whole, _judge(settings, whole, ledgers))
            )
            if whole is not None and not dry_run:
                judgement = await _carry_out(publisher, whole, judgement)
            results.append(Result(str(letter.id), _said(judgement.action, dry_run=dry_run), judgement.detail))
            advance(1)
    return results


async def drop(settings: OpsSettings, listed: Sequence[Listed], *, dry_run: bool) -> list[Result]:
    """Mark letters as dropped: they are not listed any more. Raises KafkaError, TimeoutError."""
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


async def _find_in(reader: RangeReader, partition: int, wanted: Wanted, bars: Bars) -> list[Listed]:
    place = TopicPartition(DEAD_LETTERS.name, partition)
    bounds = await reader.bounds(place)
    if not bounds.size:
        return []
    advance = bars(f"dead-letters/{partition}", bounds.size)
    letters: list[Letter] = []
    marks: dict[LetterId, Mark] = {}
    async for records in reader.read({place: bounds}):
        for record in records:
            match _understood(record):
                case Letter() as letter if wanted.wants(letter):
                    letters.append(_WITHOUT_VALUE(letter))
                case Mark() as mark:
                    marks[mark.letter] = mark
        advance(len(records))
    return [Listed(letter, marks.get(letter.id)) for letter in letters]


async def _ledgers(
    settings: OpsSettings, reader: RangeReader, letters: Iterable[Letter], bars: Bars
) -> dict[int, Ledger]:
    """What `carts` says of the carts that the letters belong to, by partition."""
    carts: defaultdict[int, set[str]] = defaultdict(set)
    for letter in letters:
        first = may_be_replayed(letter, settings.partitions)
        if first.partition is not None and letter.topic == CART_CHANGED.name:
            carts[first.partition].add(letter.key_text)
    ledgers = {}
    for partition, wanted in sorted(carts.items()):
        ledgers[partition] = Ledger(partition, settings.partitions)
        bar = bars(f"carts/{partition}", await ledgers[partition].left(reader))
        await ledgers[partition].read(reader, bar, only=wanted)
    return ledgers


def _judge(settings: OpsSettings, letter: Letter, ledgers: dict[int, Ledger]) -> Judgement:
    first = may_be_replayed(letter, settings.partitions)
    if first.partition is None or letter.topic != CART_CHANGED.name:
        return first
    ledger = ledgers[first.partition]
    entry = ledger.entries.get(letter.key_text)
    held = None if entry is None else entry.value
    return judge(letter, held, ledger.purge_floor, settings.partitions, settings.rules)


async def _behind_backlog(store: CartStore, letter: Letter, judgement: Judgement) -> Judgement:
    if judgement.action is not Action.PUBLISH or letter.topic != CART_CHANGED.name:
        return judgement
    backlog_us = max(
        (depth.oldest_us for depth in await store.outbox_depths() if depth.partition == judgement.partition),
        default=0,
    )
    if publish_allowed(0, backlog_us):
        return judgement
    return Judgement(
        Action.REFUSE,
        f"changes of partition {judgement.partition} have waited in the outbox for "
        f"{backlog_us // 1_000_000} s and go first: see that a gateway and Kafka run, then replay again",
    )


async def _carry_out(publisher: Publisher, letter: Letter, judgement: Judgement) -> Judgement:
    """Publish, then mark: a crash in between publishes again, and folding knows the change then."""
    if judgement.action is Action.REFUSE or judgement.partition is None:
        return judgement
    detail = judgement.detail
    if judgement.action is Action.PUBLISH:
        offset = await publisher.publish(
            letter.topic, judgement.partition, letter.key, letter.value, letter.headers
        )
        detail = f"published as {letter.topic}/{judgement.partition}/{offset}"
    await _mark(publisher, letter, Handled.REPLAYED, detail)
    return msgspec.structs.replace(judgement, detail=detail)


async def _mark(publisher: Publisher, letter: Letter, handled: Handled, detail: str) -> None:
    mark = Mark(letter.id, handled, detail, datetime.now(UTC).isoformat())
    await publisher.publish(DEAD_LETTERS.name, letter.id.partition, letter.key, None, mark_headers(mark))


async def _whole(reader: RangeReader, letter: Letter) -> Letter | None:
    place, offset = TopicPartition(DEAD_LETTERS.name, letter.id.partition), letter.id.offset
    first, end = await reader.bounds(place)
    if first <= offset < end:
        async for records in reader.read({place: OffsetRange(offset, offset + 1)}):
            understood = _understood(records[0])
            return understood if isinstance(understood, Letter) else None
    return None


def _understood(record: Record) -> Letter | Mark | None:
    return read(LetterId(record.partition, record.offset), record.key, record.value, record.headers)


def _already(letter: Letter, mark: Mark | None) -> Result:
    handled, when = (mark.handled, mark.time) if mark is not None else ("", "")
    return Result(str(letter.id), "left alone", f"{handled} already, at {when}")


def _said(action: Action, *, dry_run: bool) -> str:
    if action is Action.REFUSE:
        return "refused"
    return "would replay" if dry_run else "replayed"
