"""Runs and batches against a real broker: what reaches a body, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from faust.types import TP

from delivery.app import DeliveryApp, create_app
from delivery.consumer import consumer_of
from delivery.consumption import run_batches, runs
from delivery.liveness import Liveness
from delivery.runs import RunLimits
from delivery.settings import DeliverySettings
from tests.delivery.conftest import PARTITIONS, Broker, Running
from tests.support.waiting import until
from topics.partitioner import partition_of

right_partition = partial(partition_of, partitions=PARTITIONS)


class PoisonError(Exception):
    """A sink refuses a record."""


class Sink:
    """Collects what it is handed; refuses poison, and fails as often as it is told."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.failures = 0

    async def write(self, batch: Sequence[Any]) -> None:
        """Take the batch or raise."""
        if self.failures:
            self.failures -= 1
            raise ConnectionError("down")
        values = [record.value for record in batch]
        if b"poison" in values:
            raise PoisonError
        self.values += values


def sink_app(
    settings: DeliverySettings,
    broker: Broker,
    sink: Sink,
    *,
    may_be_cut_off: bool = False,
    linger_s: float = 0.0,
) -> DeliveryApp:
    app = create_app(f"sink-{broker.source}", settings, RunLimits(records=50, linger_s=linger_s))

    @app.agent(app.source(broker.source))
    async def write(stream: Any) -> None:
        await run_batches(
            stream,
            sink.write,
            partition_of=right_partition,
            is_data_error=lambda error: isinstance(error, PoisonError),
            within_s=0.05,
            may_be_cut_off=may_be_cut_off,
        )

    return app


async def test_batches_bring_every_record_of_a_partition_in_order_tombstones_included(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    sink = Sink()
    sent = [str(i).encode() for i in range(120)]
    await broker.send(broker.source, [(b"a", value) for value in sent] + [(b"a", None)])
    async with running(sink_app(settings, broker, sink)) as app:
        await until(lambda: len(sink.values) == 121)
        await until(lambda: _committed(broker, app, 121))
    assert sink.values == [*sent, None]


async def test_a_sink_that_is_down_gets_its_batch_again_and_nothing_is_committed_meanwhile(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    sink = Sink()
    sink.failures = 1_000_000
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"2")])
    async with running(sink_app(settings, broker, sink)) as app:
        await until(lambda: sink.failures < 1_000_000 - 2)
        assert await broker.committed(app.conf.id) == 0
        sink.failures = 0
        await until(lambda: sorted(sink.values) == [b"1", b"2"])  # type: ignore[arg-type, return-value, type-var]
        await until(lambda: _committed(broker, app, 2))


async def test_what_was_delivered_is_forgotten_without_the_garbage_collector(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, seen = Sink(), list[weakref.ref[Any]]()

    async def write(batch: Sequence[Any]) -> None:
        seen.extend(map(weakref.ref, batch))
        await Sink.write(sink, batch)

    monkeypatch.setattr(sink, "write", write)
    async with running(sink_app(settings, broker, sink)):
        gc.disable()
        try:
            # Twice: a stream holds on to the batch that it has handed out last.
            for values in ([b"1"], [b"1", b"2"]):
                await broker.send(broker.source, [(b"a", values[-1])])
                await until(lambda values=values: sink.values == values)  # type: ignore[misc]
            await until(lambda: seen[0]() is None)
        finally:
            gc.enable()


async def test_what_is_revoked_while_a_sink_is_down_is_left_to_its_next_owner(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    sink = Sink()
    sink.failures = 1_000_000
    keys = [b"key-%d" % number for number in range(20)]
    mine, others = (next(key for key in keys if right_partition(key) == partition) for partition in (0, 1))
    await broker.send(broker.source, [(others, b"others"), (mine, b"mine")])
    async with running(sink_app(settings, broker, sink)) as app:
        await until(lambda: sink.failures < 1_000_000)
        consumer_of(app).ledger.drop([TP(broker.source, 1)])
        sink.failures = 0
        await until(lambda: sink.values == [b"mine"])


async def test_a_batch_that_waits_is_cut_off_when_its_partitions_are_given_up_and_comes_again(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    class Endless(Sink):
        began = was_cut_off = False

        async def write(self, _batch: Sequence[Any]) -> None:
            self.began = True
            try:
                await asyncio.Event().wait()
            finally:
                self.was_cut_off = True

    endless, sink = Endless(), Sink()
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"2")])
    async with running(sink_app(settings, broker, endless, may_be_cut_off=True)) as app:
        await until(lambda: endless.began)
        ledger = consumer_of(app).ledger
        await ledger.settle(ledger.partitions)
        assert endless.was_cut_off
        await consumer_of(app).commit()
        assert await broker.committed(app.conf.id) == 0
    async with running(sink_app(settings, broker, sink)) as app:
        await until(lambda: sorted(sink.values) == [b"1", b"2"])  # type: ignore[arg-type, return-value, type-var]
        await until(lambda: _committed(broker, app, 2))


async def test_poison_is_found_by_halving_and_goes_to_the_dead_letters_alone(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    sink = Sink()
    values = [str(i).encode() for i in range(40)]
    values[7] = values[23] = b"poison"
    await broker.send(broker.source, [(b"a", value) for value in values], headers=[("ce_id", b"a/1")])
    async with running(sink_app(settings, broker, sink)) as app:
        await until(lambda: _committed(broker, app, 40))
    assert sink.values == [value for value in values if value != b"poison"]
    refused = await broker.read(broker.dead_letters)
    assert [(r.key, r.value, dict(r.headers)["dlq_source_offset"]) for r in refused] == [
        (b"a", b"poison", b"7"),
        (b"a", b"poison", b"23"),
    ]
    headers = dict(refused[0].headers)
    assert headers["ce_id"] == b"a/1"
    assert headers["dlq_source_topic"] == broker.source.encode()
    assert headers["dlq_source_partition"] == str(right_partition(b"a")).encode()
    assert headers["dlq_agent"] == app.conf.id.encode()


@pytest.mark.parametrize(
    ("key", "code"), [(None, b"no_key"), (b"a", b"wrong_partition"), (b"\xff", b"bad_key")]
)
async def test_a_record_whose_key_does_not_belong_where_it_is_never_reaches_the_body(
    broker: Broker, settings: DeliverySettings, running: Running, key: bytes | None, code: bytes
) -> None:
    bodies: list[bytes | None] = []
    app = create_app(f"events-{broker.source}", settings)

    def checked(key: bytes) -> int:
        key.decode()
        return right_partition(key)

    @app.agent(app.source(broker.source))
    async def collect(stream: Any) -> None:
        async for run in runs(stream, checked):
            bodies.extend(record.value for record in run.records)

    wrong = 1 - right_partition(key or b"")
    await broker.send(broker.source, [(key, b"misplaced")], partition=wrong)
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"2")])
    async with running(app):
        await until(lambda: _committed(broker, app, 3))
    assert sorted(bodies) == [b"1", b"2"]  # type: ignore[type-var]
    (refused,) = await broker.read(broker.dead_letters)
    assert (refused.key, refused.value) == (key, b"misplaced")
    assert dict(refused.headers)["dlq_error_code"] == code


async def test_a_record_lost_at_the_end_of_the_log_is_fetched_again_by_the_watch(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.liveness.QUIET_S", 0.2)
    sink = Sink()
    app = sink_app(settings, broker, sink)
    async with running(app):
        consumer = consumer_of(app)
        handed_over = consumer.callback

        async def lose(run: Any) -> None:
            if run.records[-1].value != b"last":
                await handed_over(run)
            else:
                consumer.callback = handed_over

        consumer.callback = lose
        await app._fetcher.restart()  # noqa: SLF001  (the fetcher holds on to the callback it started with)
        await broker.send(broker.source, [(b"a", b"1"), (b"a", b"last")])
        watch = Liveness(app)

        async def lost() -> bool:
            # The restarted fetcher may have taken the records along: the watch brings those back, too.
            await watch.look()
            return consumer.callback is handed_over

        await until(lost)
        await app._fetcher.restart()  # noqa: SLF001

        async def arrived() -> bool:
            await watch.look()
            return sink.values == [b"1", b"last"]

        await until(arrived)


async def test_between_two_looks_nothing_is_fetched(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, rests = Sink(), list[int]()
    app = sink_app(settings, broker, sink, linger_s=0.5)
    async with running(app):
        client = consumer_of(app).member
        assert client is not None
        pause = client.pause

        def noted(*partitions: Any) -> None:
            # A rest may be over before somebody looks for it.
            pause(*partitions)
            rests.append(len(client.paused()))

        monkeypatch.setattr(client, "pause", noted)
        for value in (b"1", b"2"):
            before = len(rests)
            await broker.send(broker.source, [(b"a", value)])
            await until(lambda before=before: PARTITIONS in rests[before:])  # type: ignore[misc, arg-type]
            await until(lambda: not client.paused())
        await until(lambda: sink.values == [b"1", b"2"])


async def test_a_backlog_of_a_few_large_records_waits_for_nothing(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    sink, sent = Sink(), [bytes([number]) * 30_000 for number in range(12)]
    await broker.send(broker.source, [(b"a", value) for value in sent])
    # One look brings four of them, and after one without a backlog there is no other one.
    app = sink_app(settings.model_copy(update={"max_record_bytes": 1 << 16}), broker, sink, linger_s=3600.0)
    async with running(app):
        await until(lambda: sink.values == sent)


async def _committed(broker: Broker, app: DeliveryApp, count: int) -> bool:
    return await broker.committed(app.conf.id) == count
