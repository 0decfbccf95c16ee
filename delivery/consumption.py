"""How an agent consumes: event by event for tables, in batches for sinks; contiguous, at least once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import stamina
from faust.types import TP, EventT, StreamT

from delivery import metrics
from delivery.app import DeliveryApp
from delivery.consumer import AccountingConsumer, consumer_of

PartitionOf = Callable[[bytes], int]
"""The partition a key belongs to. Raises ValueError for a key that can't be one."""

Handle = Callable[[Sequence[EventT[Any]]], Awaitable[None]]
IsDataError = Callable[[BaseException], bool]

MAX_BACKOFF_S = 15.0


async def events(stream: StreamT[Any], partition_of: PartitionOf) -> AsyncIterator[EventT[Any]]:
    """Every record of the stream in order, each after the one before it has been processed.

    Re-deliveries are skipped, gaps fetched again. When the loop's body comes back for the next event, the
    one before counts as processed: its offset may be committed once its changelog records are acknowledged.
    A body that raises ends the process with code 75; poison goes to `app.dead_letters.refuse`. Records in
    a partition their key does not belong to are refused here.
    """
    app, consumer = _parts(stream)
    async for event in stream.events():
        if not await consumer.admit(event):
            continue
        message = event.message
        processed = False
        try:
            if not await _refuse_misplaced(app, event, partition_of):
                yield event
            processed = True
        finally:
            if processed:
                consumer.ledger.finish(message)
            else:
                consumer.ledger.abandon(message)


async def run_batches(
    stream: StreamT[Any],
    handle: Handle,
    *,
    partition_of: PartitionOf,
    is_data_error: IsDataError,
    max_records: int = 2000,
    within_s: float = 0.2,
) -> None:
    """Hand the stream to `handle` in batches of at most `max_records`, collected for `within_s` seconds.

    A batch holds records of several partitions, each partition's in order. `handle` is called with it
    until it returns: with backoff if the exception may pass; if `is_data_error(exception)` the batch is
    halved until the poison record is alone and goes to the dead letters. `handle` must be idempotent.
    """
    app, consumer = _parts(stream)
    async for taken in cast(Any, stream).take_events(max_records, within_s):
        batch = [event for event in taken if await consumer.admit(event)]
        processed = False
        try:
            kept = [event for event in batch if not await _refuse_misplaced(app, event, partition_of)]
            if kept:
                await _deliver(app, consumer, kept, handle, is_data_error)
            processed = True
        finally:
            for event in batch:
                if processed:
                    consumer.ledger.finish(event.message)
                else:
                    consumer.ledger.abandon(event.message)


async def _deliver(
    app: DeliveryApp,
    consumer: AccountingConsumer,
    batch: list[EventT[Any]],
    handle: Handle,
    is_data_error: IsDataError,
) -> None:
    partitions: set[TP] = {event.message.tp for event in batch}

    def may_pass(error: Exception) -> bool:
        if is_data_error(error):
            return False
        consumer.ledger.beat(partitions)
        metrics.BATCH_RETRIES.labels(app.conf.id).inc()
        return True

    retries = partial(stamina.retry_context, on=may_pass, attempts=None, timeout=None, wait_max=MAX_BACKOFF_S)
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            async for attempt in retries():
                with attempt:
                    await handle(part)
        except Exception as error:  # whatever a sink's driver raises: its caller says what it means
            if not is_data_error(error):
                raise
            if len(part) == 1:
                await app.refuse(part[0], "rejected_by_sink", repr(error))
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]


async def _refuse_misplaced(app: DeliveryApp, event: EventT[Any], partition_of: PartitionOf) -> bool:
    key, partition = event.message.key, event.message.partition
    if key is None:
        await app.refuse(event, "no_key", "Records need a key, the partition follows from it")
        return True
    try:
        right = partition_of(key)
    except ValueError as error:
        await app.refuse(event, "bad_key", str(error))
        return True
    if right != partition:
        await app.refuse(
            event, "wrong_partition", f"The key belongs to partition {right}: use the murmur2 partitioner"
        )
        return True
    return False


def _parts(stream: StreamT[Any]) -> tuple[DeliveryApp, AccountingConsumer]:
    app = cast(DeliveryApp, stream.app)
    return app, consumer_of(app)
