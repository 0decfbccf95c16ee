"""Worker processes for the kill loop: one with a table, one with a sink, and the guards to take away.

Each counts, per key, the numbers 1, 2, 3… it is sent. `python -m tests.delivery.workers table|sink <source>
<target> <folder>` with `CARTSTREAM_*` for the app and `KILL_LOOP_*` for the experiment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import structlog
from faust.transport.drivers.aiokafka import Consumer

from delivery import metrics
from delivery.app import DeliveryApp, create_app
from delivery.changelog import ChangelogWriter, Headers
from delivery.consumer import AccountingConsumer, AccountingThread
from delivery.consumption import run_batches, runs
from delivery.contiguity import Admission, Contiguity, RunAdmission
from delivery.ledger import Partition
from delivery.recovery import ReplayRecovery
from delivery.runs import RunLimits
from delivery.settings import DeliverySettings
from delivery.states import InFlight, PartitionStates, State
from delivery.table import ChangelogTable, HeldState
from delivery.worker import run_worker
from topics.partitioner import partition_of

log = structlog.get_logger(__name__)

PARTITIONS = 8

right_partition = partial(partition_of, partitions=PARTITIONS)


class Count(msgspec.Struct):
    """What the table holds of a key: the newest number, and how many were missing before it."""

    newest: int
    missing: int


decode = msgspec.json.Decoder(Count).decode


def higher(_key: bytes, held: bytes | None, read: bytes | None, _headers: Headers) -> bytes | None:
    """Keep the state with the higher number."""
    if held is None or read is None:
        return read
    return held if decode(held).newest > decode(read).newest else read


def headers_of(key: bytes, value: bytes | None) -> Headers:
    """As the product's records have them."""
    return [("ce_id", key + b"/" + str(decode(value).newest if value else 0).encode())]


def table_app(settings: DeliverySettings, source: str, changelog: str) -> DeliveryApp:
    """Folds numbers into the table `changelog`, emitting only what changed, as compaction does."""
    app = create_app(f"group-{changelog}", settings)
    table = app.changelog_table(changelog, keep=higher, headers_of=headers_of)

    @app.agent(app.source(source))
    async def fold(stream: Any) -> None:
        async for run in runs(stream, right_partition):
            counted: dict[bytes, Count] = {}
            for record in run.records:
                key, number = record.key, int(record.value)
                held = table.lookup(run, key)
                state = counted.get(key) or (decode(held) if held else Count(0, 0))
                if number > state.newest:
                    missing = state.missing + number - state.newest - 1
                    counted[key] = Count(number, missing)
            values = {key: msgspec.json.encode(state) for key, state in counted.items()}
            await table.emit(
                run, [HeldState(key, value, headers_of(key, value)) for key, value in values.items()]
            )
            count(len(run.records))

    return app


def sink_app(settings: DeliverySettings, source: str, database: Path) -> DeliveryApp:
    """Writes every number of every key to SQLite, a transaction a batch."""
    app = create_app(f"group-{source}-sink", settings, RunLimits(records=500))
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS seen (key BLOB, number INT, PRIMARY KEY (key, number)) WITHOUT ROWID"
    )

    async def write(batch: Sequence[Any]) -> None:
        rows = [(record.key, int(record.value)) for record in batch]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        count(len(rows))

    @app.agent(app.source(source))
    async def sink(stream: Any) -> None:
        await run_batches(
            stream,
            write,
            partition_of=right_partition,
            is_data_error=lambda error: isinstance(error, ValueError),
        )

    return app


def take_away(guard: str) -> None:
    """Remove one guard, to see that the loop fails without it."""
    match guard:
        case "contiguity":
            _believe_faust_about_offsets()
        case "acknowledgement":
            Partition.committable = lambda self: self.done  # type: ignore[method-assign]
        case "overlay":
            _store_what_is_not_acknowledged()


def _believe_faust_about_offsets() -> None:
    """Process whatever is delivered, seek as Faust does, commit the highest offset processed."""

    def judge_run(self: Contiguity, offsets: Sequence[int]) -> RunAdmission:
        self.expected = max(self.expected, offsets[-1] + 1)
        return RunAdmission(Admission.PROCESS, 0, len(offsets))

    async def perform_seek(self: AccountingConsumer) -> None:
        await Consumer.perform_seek(self)
        for tp in self.assignment():
            self.ledger.anchor(tp, self.app.consumer_generation_id, self._committed_offset[tp] or 0)

    AccountingConsumer._drain_messages = Consumer._drain_messages  # type: ignore[method-assign]  # noqa: SLF001
    AccountingConsumer.perform_seek = perform_seek  # type: ignore[method-assign]
    Contiguity.judge_run = judge_run  # type: ignore[method-assign]


def _store_what_is_not_acknowledged() -> None:
    """States enter the store when they are sent; the position still waits for the acknowledgement."""

    def sending(self: PartitionStates, states: Sequence[State]) -> InFlight:
        self._store.write(self._partition, states, self.position)
        return original(self, states)

    original = PartitionStates.sending
    PartitionStates.sending = sending  # type: ignore[method-assign]


def provoke(fault: str) -> None:
    """Make a rare fault frequent."""
    match fault:
        case "lost-hand-over":
            _lose_hand_overs()
        case "slow-changelog":
            _hold_changelog_back()
        case "endless-stop":
            _never_end_the_thread()
        case "endless-start":
            _never_end_the_thread()
            _never_recover()
        case "unanswered-seek":
            _never_answer_the_seek()
        case "cancelled-replay":
            _cancel_replays(10)
        case "cancelled-once":
            _cancel_replays(1)
        case "stuck":

            async def never(*_: Any, **__: Any) -> None:
                await asyncio.Event().wait()

            ChangelogWriter.send = never  # type: ignore[assignment,method-assign]


def _lose_hand_overs() -> None:
    """One run in 50 is read and never handed to the agent, as when a suspended flow cancels it.

    The sixth is the first: on a slow machine a process has few runs, and each of them is large.
    """
    lost = cycle(number == 5 for number in range(50))

    def init(self: AccountingConsumer, transport: Any, callback: Any, *args: Any, **kwargs: Any) -> None:
        async def lossy(run: Any) -> None:
            if not next(lost):
                await callback(run)

        original(self, transport, lossy, *args, **kwargs)

    original = AccountingConsumer.__init__
    AccountingConsumer.__init__ = init  # type: ignore[method-assign]


def _never_end_the_thread() -> None:
    """The consumer's thread goes on when Faust joins it, as when it waits for the loop that joins it."""

    async def never(_: AccountingThread) -> None:
        await asyncio.Event().wait()

    AccountingThread._gather_remaining_tasks = never  # type: ignore[assignment,method-assign]  # noqa: SLF001


def _never_recover() -> None:
    """The tables' replay has begun, and does not end."""

    async def never(_: ReplayRecovery, generation_id: int = 0) -> None:  # noqa: ARG001
        log.info("replay.endless")
        await asyncio.Event().wait()

    ReplayRecovery.on_recovery_completed = never  # type: ignore[assignment,method-assign]


def _never_answer_the_seek() -> None:
    """The broker goes away between the replay and the first fetch."""

    async def never(_: AccountingConsumer) -> None:
        await asyncio.Event().wait()

    AccountingConsumer.perform_seek = never  # type: ignore[assignment,method-assign]


def _cancel_replays(times: int) -> None:
    """A client that is closed cancels what waits for its answers."""
    left = iter(range(times))

    async def cancelled(self: ChangelogTable, partitions: set[int]) -> None:
        if next(left, None) is not None:
            raise asyncio.CancelledError
        await original(self, partitions)

    original = ChangelogTable.replay
    ChangelogTable.replay = cancelled  # type: ignore[method-assign]


def _hold_changelog_back() -> None:
    """Batches reach the broker half a second after they were sent, as when it is slow or the network is.

    Those of a partition stay in order, as they do then: the writer sees to it.
    """

    async def send(self: ChangelogWriter, *args: Any) -> asyncio.Future[Any]:
        async def later() -> Any:
            await asyncio.sleep(0.5)
            return await (await original(self, *args))

        return asyncio.ensure_future(later())

    original = ChangelogWriter.send
    ChangelogWriter.send = send  # type: ignore[assignment,method-assign]


processed = 0


def count(records: int) -> None:
    """Note that so many records have been processed."""
    global processed  # noqa: PLW0603  (one worker a process)
    processed += records


def report(path: Path) -> None:
    """Keep writing this process's counters to a file that outlives kill -9."""
    counters = {"gaps": metrics.GAPS, "redeliveries": metrics.REDELIVERIES, "sent_again": metrics.SENT_AGAIN}
    while True:
        totals = {
            name: sum(
                sample.value
                for sample in next(iter(counter.collect())).samples
                if sample.name.endswith("_total")
            )
            for name, counter in counters.items()
        }
        partial_file = path.with_suffix(".partial")
        partial_file.write_text(json.dumps(totals | {"processed": processed}))
        partial_file.replace(path)
        time.sleep(0.05)


def main() -> None:
    """Run the worker that the arguments name."""
    kind, source, target, folder = sys.argv[1:]
    take_away(os.environ.get("KILL_LOOP_WITHOUT", ""))
    provoke(os.environ.get("KILL_LOOP_FAULT", ""))
    counters = Path(folder) / f"counters-{os.getpid()}.json"
    threading.Thread(target=report, args=(counters,), daemon=True).start()
    settings = DeliverySettings()
    app = table_app(settings, source, target) if kind == "table" else sink_app(settings, source, Path(target))
    run_worker(app)


if __name__ == "__main__":
    main()
