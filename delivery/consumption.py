"""How an agent consumes: run by run for tables, in batches for sinks; contiguous, at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, cast

import stamina
from aiokafka import ConsumerRecord
from faust.types import StreamT

from delivery import metrics
from delivery.app import DeliveryApp
from delivery.consumer import AccountingConsumer, consumer_of
from delivery.runs import Run

PartitionOf = Callable[[bytes], int]
"""The partition a key belongs to. Raises ValueError for a key that can't be one."""

Handle = Callable[[Sequence[ConsumerRecord]], Awaitable[None]]
IsDataError = Callable[[BaseException], bool]

MAX_BACKOFF_S = 15.0
BURST_S = 0.02
"""Within that come the runs of one look at the log."""


async def runs(stream: StreamT[Any], partition_of: PartitionOf) -> AsyncIterator[Run]:
    """Every run of the stream in order, each after the one before it has been processed.

    Re-deliveries are skipped, gaps fetched again. When the loop's body comes back for the next run, the one
    before counts as processed: its end may be committed once its changelog records are acknowledged.
    A body that raises ends the process with code 75; poison goes to `app.refuse`. Records in a partition
    their key does not belong to are refused here.
    """
    app, consumer = _parts(stream)
    sizes = metrics.RUN_RECORDS.labels(app.conf.id)
    async for event in stream.events():
        run: Run = event.message
        if not await consumer.admit(run):
            continue
        sizes.observe(len(run.records))
        processed = False
        try:
            await _refuse_misplaced(app, run, partition_of)
            if run.records:
                yield run
            processed = True
        finally:
            if processed:
                consumer.ledger.finish(run)
            else:
                consumer.ledger.abandon(run)


async def run_batches(
    stream: StreamT[Any],
    handle: Handle,
    *,
    partition_of: PartitionOf,
    is_data_error: IsDataError,
    within_s: float = BURST_S,
    may_be_cut_off: bool = False,
) -> None:
    """Hand the stream to `handle` in batches, collected for `within_s` seconds.

    By default these are the runs of one look at the log; between two of them the app's `linger_s` passes.
    A batch is made of runs of several partitions, together of no more records than the app's longest run.

    `handle` is called with the records until it returns: with backoff if the exception may pass; if
    `is_data_error(exception)` the batch is halved until the poison record is alone and goes to the dead
    letters. `handle` must be idempotent.

    Who gives a partition up waits for the batch that has records of it. If `may_be_cut_off`, for a `handle`
    that may wait for long and can end after any step, the batch is cancelled instead, and comes again to
    whoever has the partitions next: Faust gives all of them up at once.
    """
    app, consumer = _parts(stream)
    sizes = metrics.BATCH_RECORDS.labels(app.conf.id)
    async for taken in _collect(stream, app.run_limits.records, within_s):
        batch = [run for run in taken if await consumer.admit(run)]
        processed = False
        try:
            for run in batch:
                await _refuse_misplaced(app, run, partition_of)
            sizes.observe(sum(len(run.records) for run in batch))
            delivering = _deliver(app, batch, handle, is_data_error)
            if may_be_cut_off:
                processed = await _done_before(consumer.ledger.until_closing(batch), delivering)
            else:
                await delivering
                processed = True
        finally:
            for run in batch:
                if processed:
                    consumer.ledger.finish(run)
                else:
                    consumer.ledger.abandon(run)


async def _collect(stream: StreamT[Any], max_records: int, within_s: float) -> AsyncIterator[list[Run]]:
    """Runs as they come within so many seconds, together of at most so many records."""
    clock = asyncio.get_running_loop().time
    events = aiter(stream.events())

    def get() -> asyncio.Future[Any]:
        return asyncio.ensure_future(anext(events, None))

    coming = get()
    try:
        while (event := await coming) is not None:
            coming = get()
            taken = [event.message]
            room, end = max_records - len(taken[0].records), clock() + within_s
            while room > 0:
                await asyncio.wait([coming], timeout=max(0.0, end - clock()))
                if not coming.done() or (event := coming.result()) is None:
                    break
                room -= len(event.message.records)
                if room < 0:
                    break
                taken.append(event.message)
                coming = get()
            yield taken
    finally:
        coming.cancel()


async def _done_before(end: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work is done; the end, if it comes first, cuts it off."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


async def _deliver(app: DeliveryApp, batch: list[Run], handle: Handle, is_data_error: IsDataError) -> None:
    ledger = consumer_of(app).ledger
    run_of = {run.partition: run for run in batch if ledger.holds(run)}  # all of one are of one assignment
    # Attempts refer to each other in a circle, and to `may_pass`: records there would wait for the collector.
    places = [run.tp for run in batch]

    def owned(records: list[ConsumerRecord]) -> list[ConsumerRecord]:
        """Those that are still this process's to write: what was revoked meanwhile has another owner."""
        held = {partition for partition, run in run_of.items() if ledger.holds(run)}
        return [record for record in records if record.partition in held]

    def may_pass(error: BaseException) -> bool:
        if not isinstance(error, Exception) or is_data_error(error):
            return False  # who is cancelled ends
        ledger.beat(places)
        metrics.BATCH_RETRIES.labels(app.conf.id).inc()
        return True

    retries = partial(stamina.retry_context, on=may_pass, attempts=None, timeout=None, wait_max=MAX_BACKOFF_S)
    waiting = [[record for run in batch if ledger.holds(run) for record in run.records]]
    while waiting:
        part = waiting.pop()
        try:
            async for attempt in retries():
                with attempt:
                    if part := owned(part):
                        await handle(part)
        except Exception as error:  # whatever a sink's driver raises: its caller says what it means
            if not is_data_error(error):
                raise
            if len(part) == 1:
                await app.refuse(part[0], "rejected_by_sink", repr(error))
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]


async def _refuse_misplaced(app: DeliveryApp, run: Run, partition_of: PartitionOf) -> None:
    """Leave the run's records that belong where they are; send the others to the dead letters."""
    wrong = {
        key: reason
        for key in {record.key for record in run.records}
        if (reason := _misplaced(key, run.partition, partition_of)) is not None
    }
    if not wrong:
        return
    await asyncio.gather(
        *(app.refuse(record, *wrong[record.key]) for record in run.records if record.key in wrong)
    )
    run.records = [record for record in run.records if record.key not in wrong]


def _misplaced(key: bytes | None, partition: int, partition_of: PartitionOf) -> tuple[str, str] | None:
    """Code and detail of what is wrong with a key in this partition, if anything is."""
    if key is None:
        return "no_key", "Records need a key, the partition follows from it"
    try:
        right = partition_of(key)
    except ValueError as error:
        return "bad_key", str(error)
    if right != partition:
        return "wrong_partition", f"The key belongs to partition {right}: use the murmur2 partitioner"
    return None


def _parts(stream: StreamT[Any]) -> tuple[DeliveryApp, AccountingConsumer]:
    app = cast(DeliveryApp, stream.app)
    return app, consumer_of(app)
