"""The changelog table against a real broker: what it writes, and what it makes of what others wrote."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from carts.fold import fold
from carts.operations import Add, Change, Item
from delivery import metrics
from delivery.app import DeliveryApp, create_app
from delivery.changelog import ChangelogWriter, Headers
from delivery.consumer import consumer_of
from delivery.consumption import runs
from delivery.errors import OutsideOfStream, RecordTooLarge, TopicTaken
from delivery.liveness import Liveness
from delivery.settings import DeliverySettings
from delivery.table import ChangelogTable, HeldState
from streams.recovery import Recovery
from tests.delivery.conftest import PARTITIONS, Broker, Running
from tests.support.waiting import until
from topics.codec import encode_cart, encode_purge_floor
from topics.partitioner import partition_of
from topics.records import PurgeFloor, cart_record, purge_floor_key_in_carts

right_partition = partial(partition_of, partitions=PARTITIONS)


def longer(_key: bytes, held: bytes | None, read: bytes | None, _headers: Headers) -> bytes | None:
    """The version of these states is their length."""
    return held if len(held or b"") > len(read or b"") else read


def headers_of(_key: bytes, value: bytes | None) -> Headers:
    return [("version", str(len(value or b"")).encode())]


def appending_app(
    settings: DeliverySettings, broker: Broker, name: str = "appending"
) -> tuple[DeliveryApp, ChangelogTable]:
    """State of a key = all its values one after the other; the value `-` deletes it."""
    app = create_app(f"{name}-{broker.source}", settings)
    table = app.changelog_table(broker.changelog, keep=longer, headers_of=headers_of)

    @app.agent(app.source(broker.source))
    async def append(stream: Any) -> None:
        async for run in runs(stream, right_partition):
            for record in run.records:
                key, value = record.key, record.value
                state = None if value == b"-" else (table.lookup(run, key) or b"") + value
                try:
                    held = HeldState(key, state, headers_of(key, state))
                    await table.emit(run, [held])
                except RecordTooLarge as error:
                    await app.refuse(record, "too_large", str(error))

    return app, table


async def test_a_state_is_sent_with_headers_to_the_partition_of_its_run(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2")])
    async with running(app):
        await until(lambda: dict(table.items()) == {b"a": b"12", b"b": b"1"})
    records = await broker.read(broker.changelog)
    assert {(r.key, r.value, r.headers) for r in records} == {
        (b"a", b"1", (("version", b"1"),)),
        (b"a", b"12", (("version", b"2"),)),
        (b"b", b"1", (("version", b"1"),)),
    }
    assert all(record.partition == right_partition(record.key) for record in records)


async def test_a_deletion_is_a_tombstone_with_headers(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"1"), (b"a", b"-")])
    async with running(app):
        await until(lambda: _committed_all(broker, app, 2))
        assert not dict(table.items())
    last = (await broker.read(broker.changelog))[-1]
    assert (last.key, last.value, last.headers) == (b"a", None, (("version", b"0"),))


async def test_states_of_a_run_that_fill_several_batches_are_all_there_and_all_ours(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app = create_app(f"batches-{broker.source}", settings)
    table = app.changelog_table(broker.changelog, keep=longer, headers_of=headers_of)
    states = [HeldState(b"key-%d" % number, b"x" * 60_000, [("n", b"1")]) for number in range(30)]

    @app.agent(app.source(broker.source))
    async def emit_many(stream: Any) -> None:
        async for run in runs(stream, right_partition):
            await table.emit(run, states)

    async with running(app):
        before = metrics.REPLAYED.labels(table.name)._value.get()  # noqa: SLF001
        await broker.send(broker.source, [(b"a", b"1")])
        await until(lambda: _committed_all(broker, app, 1))
        # Offsets between a batch and the next would be read as somebody else's.
        await Liveness(app).look()
        assert metrics.REPLAYED.labels(table.name)._value.get() == before  # noqa: SLF001
    records = await broker.read(broker.changelog)
    assert [record.key for record in records] == [state.key for state in states]


async def test_a_run_whose_partition_is_revoked_while_it_is_folded_emits_nothing(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app = create_app(f"outlived-{broker.source}", settings)
    table = app.changelog_table(broker.changelog, keep=longer, headers_of=headers_of)
    folded: list[bytes] = []

    @app.agent(app.source(broker.source))
    async def fold_late(stream: Any) -> None:
        async for run in runs(stream, right_partition):
            consumer_of(app).ledger.drop([run.tp])
            assert table.lookup(run, b"a") is None
            await table.emit(run, [HeldState(b"a", b"1", [])])
            folded.append(b"a")

    await broker.send(broker.source, [(b"a", b"1")])
    async with running(app):
        await until(lambda: folded == [b"a"])
    assert await broker.read(broker.changelog) == []
    assert await broker.committed(app.conf.id) == 0


async def test_a_new_worker_goes_on_from_the_changelog(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"1")])
    app, table = appending_app(settings, broker)
    async with running(app):
        await until(lambda: len(dict(table.items())) == 2)
    await broker.send(broker.source, [(b"a", b"2")])
    app, table = appending_app(settings, broker)
    async with running(app):
        await until(lambda: dict(table.items()) == {b"a": b"12", b"b": b"1"})


async def test_an_older_state_at_the_end_of_the_changelog_is_answered_when_the_table_is_recovered(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await broker.send(broker.changelog, [(b"a", b"123"), (b"a", b"1"), (b"b", b"1")])
    app, table = appending_app(settings, broker)
    async with running(app):
        assert dict(table.items()) == {b"a": b"123", b"b": b"1"}
    own = [r for r in await broker.read(broker.changelog) if r.key == b"a"]
    assert [(r.value, r.headers) for r in own][-1] == (b"123", (("version", b"3"),))


async def test_what_is_remembered_of_a_partition_ends_with_its_ownership(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    now = 2 * int(time.time() * 1e6)
    cart_id = "user:42"
    partition = right_partition(cart_id.encode())
    add = Add("cup", 1, 500, "EUR", Item("cup"))
    state = fold(None, Change(cart_id=cart_id, version=now, op_id="op", delta=(add,))).state
    assert state is not None
    live = encode_cart(cart_record(cart_id, state))
    # The live cart is below the floor: a purge that came after its last change has lifted it.
    floor_key, floor = purge_floor_key_in_carts(partition), encode_purge_floor(PurgeFloor(now + 2))
    await broker.send(broker.changelog, [(cart_id.encode(), live)], partition)
    await broker.send(broker.changelog, [(floor_key, floor)], partition)
    recovery = Recovery(PARTITIONS)
    app = create_app(f"regains-{broker.source}", settings)
    table = app.changelog_table(
        broker.changelog, keep=recovery.keep, headers_of=recovery.headers_of, opened=recovery.opened
    )

    @app.agent(app.source(broker.source))
    async def ignore(stream: Any) -> None:
        async for _ in runs(stream, right_partition):
            pass

    async with running(app):
        assert dict(table.items()) == {cart_id.encode(): live, floor_key: floor}
        # Another worker takes it over for a while.
        await table.replay({1 - partition})
        await table.replay({0, 1})
        assert dict(table.items()) == {cart_id.encode(): live, floor_key: floor}
    assert await values_of(broker, cart_id.encode()) == [live]


async def test_a_worker_without_partitions_is_ready_and_takes_them_over_later(
    kafka_bootstrap: str, settings: DeliverySettings, running: Running, tmp_path: Path
) -> None:
    broker = Broker(kafka_bootstrap)
    await broker.make_topics(partitions=1)
    key = next(key for key in (b"a", b"b", b"c", b"d", b"e", b"f") if right_partition(key) == 0)
    owner, owned = appending_app(settings, broker)
    spare, spared = appending_app(settings.model_copy(update={"datadir": tmp_path / "spare"}), broker)
    async with AsyncExitStack() as takes_over:
        async with running(owner):
            await broker.send(broker.source, [(key, b"1")], 0)
            await until(lambda: dict(owned.items()) == {key: b"1"}, "the owner works")
            await takes_over.enter_async_context(running(spare))
            await until(
                lambda: (
                    len(consumer_of(owner).ledger.partitions) + len(consumer_of(spare).ledger.partitions) == 1
                ),
                "one of them has the partition",
            )
            await broker.send(broker.source, [(key, b"2")], 0)
            await until(lambda: {key: b"12"} in (dict(owned.items()), dict(spared.items())), "it is folded")
        await broker.send(broker.source, [(key, b"3")], 0)
        await until(lambda: dict(spared.items()) == {key: b"123"}, "the spare one takes over")


async def values_of(broker: Broker, key: bytes) -> list[bytes | None]:
    """What the changelog has of a key, in order."""
    return [record.value for record in await broker.read(broker.changelog) if record.key == key]


async def test_an_older_state_that_a_woken_worker_writes_beside_the_owner_is_answered(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"1"), (b"a", b"2")])
    async with running(app):
        # What is held may not be in the log yet; what is committed is.
        await until(lambda: _committed_all(broker, app, 2))
        assert dict(table.items()) == {b"a": b"12"}
        await broker.send(broker.changelog, [(b"a", b"1"), (b"z", b"new")])
        # Nobody writes any more: the log's end gives it away.
        await Liveness(app).look()
        assert dict(table.items()) == {b"a": b"12", b"z": b"new"}

        async def is_answered() -> bool:
            return await values_of(broker, b"a") == [b"1", b"12", b"1", b"12"]

        await until(is_answered, "the older state is answered")
        await broker.send(broker.changelog, [(b"a", b"-")])
        # The owner writes next: the offset of its own record gives it away.
        await broker.send(broker.source, [(b"b", b"1")] * 3)
        await until(lambda: _committed_all(broker, app, 5))
        assert dict(table.items()).get(b"b") == b"111"
        await Liveness(app).look()
    assert await values_of(broker, b"a") == [b"1", b"12", b"1", b"12", b"-", b"12"]


async def test_answers_before_which_somebody_was_cancelled_come_with_the_next_look(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: Any) -> None:
        raise asyncio.CancelledError

    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"1"), (b"a", b"2"), (b"b", b"12")])
    async with running(app):
        await until(lambda: _committed_all(broker, app, 3))
        assert dict(table.items()) == {b"a": b"12", b"b": b"12"}
        await broker.send(broker.changelog, [(b"a", b"1"), (b"b", b"1")])
        with monkeypatch.context() as patch:
            patch.setattr(ChangelogWriter, "send", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await table.answer_foreign_writes()
        await Liveness(app).look()
        await until(lambda: not table.changelog_may_be_behind, "all is answered")
    for key in (b"a", b"b"):
        assert (await values_of(broker, key))[-2:] == [b"1", b"12"]


async def test_a_state_that_is_too_large_is_refused_and_the_partition_goes_on(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    settings = settings.model_copy(update={"max_record_bytes": 1 << 16})
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"x" * 65_000), (b"a", b"x" * 600), (b"a", b"y")])
    async with running(app):
        await until(lambda: _committed_all(broker, app, 3))
        assert len(dict(table.items())[b"a"]) == 65_001
    (refused,) = await broker.read(broker.dead_letters)
    assert dict(refused.headers)["dlq_error_code"] == b"too_large"


async def test_a_record_of_nearly_a_mebibyte_passes(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"x" * 600_000), (b"a", b"x" * 430_000)])
    async with running(app):
        await until(lambda: len(dict(table.items()).get(b"a", b"")) == 1_030_000)


async def test_writing_the_table_like_a_dictionary_says_what_to_do_instead(
    broker: Broker, settings: DeliverySettings
) -> None:
    app, table = appending_app(settings, broker)
    with pytest.raises(OutsideOfStream, match="emit"):
        table[b"a"] = b"1"
    with pytest.raises(OutsideOfStream, match="emit"):
        del table[b"a"]
    with pytest.raises(TopicTaken):
        app.source(broker.source)


async def _committed_all(broker: Broker, app: DeliveryApp, count: int) -> bool:
    return await broker.committed(app.conf.id) == count
