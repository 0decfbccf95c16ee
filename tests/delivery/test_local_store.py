"""A table on its local store, against a real broker: when it reads on, and when it reads all again."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from aiokafka.admin import NewTopic
from structlog.testing import capture_logs

from delivery.app import DeliveryApp
from delivery.settings import DeliverySettings
from delivery.states import Distrust
from delivery.table import ChangelogTable
from tests.delivery.conftest import PARTITIONS, Broker, Running
from tests.delivery.kill_loop import administration
from tests.delivery.test_table import appending_app, values_of
from tests.support.waiting import until

Logs = list[MutableMapping[str, Any]]


async def appended(
    broker: Broker, settings: DeliverySettings, running: Running, *values: tuple[bytes, bytes]
) -> dict[bytes, bytes]:
    """Let a worker process the values and stop; returns what it held."""
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, values)
    async with running(app):
        await until(lambda: _has_committed(broker, app, len(values)))
        return dict(table.items())


def restarted(broker: Broker, settings: DeliverySettings) -> tuple[DeliveryApp, ChangelogTable]:
    """The next process of the same worker."""
    return appending_app(settings, broker)


def read_by(logs: Logs) -> int:
    """How many changelog records the first replay of a worker has read."""
    return next(int(entry["records"]) for entry in logs if entry["event"] == "table.replayed")


def rebuilt_by(logs: Logs) -> dict[str, list[int]]:
    """Which partitions the first replay has begun without what the store had of them, by the reason."""
    found: dict[str, list[int]] = next(e["rebuilt"] for e in logs if e["event"] == "table.opened")
    return found


async def test_a_restarted_worker_reads_what_was_written_meanwhile_and_nothing_else(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    held = await appended(broker, settings, running, (b"a", b"1"), (b"b", b"1"), (b"a", b"2"))
    assert held == {b"a": b"12", b"b": b"1"}
    await broker.send(broker.changelog, [(b"c", b"new")])
    app, table = restarted(broker, settings)
    with capture_logs() as logs:
        async with running(app):
            assert dict(table.items()) == {b"a": b"12", b"b": b"1", b"c": b"new"}
    assert (rebuilt_by(logs), read_by(logs)) == ({}, 1)


async def test_an_older_state_that_was_written_meanwhile_is_answered(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await appended(broker, settings, running, (b"a", b"1"), (b"a", b"2"))
    await broker.send(broker.changelog, [(b"a", b"1")])
    app, table = restarted(broker, settings)
    async with running(app):
        assert dict(table.items()) == {b"a": b"12"}
        await until(lambda: _last_is(broker, b"a", b"12"))


async def test_a_changelog_that_was_made_anew_is_read_from_its_beginning(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await appended(broker, settings, running, (b"a", b"1"), (b"b", b"1"), (b"gone", b"1"))
    async with administration(broker.bootstrap) as admin:
        await admin.delete_topics([broker.changelog])

        async def gone() -> bool:
            return broker.changelog not in await admin.list_topics()

        await until(gone)
        await admin.create_topics([NewTopic(broker.changelog, PARTITIONS, 1)])
    # As long as the old one: its offsets say nothing.
    await broker.send(broker.changelog, [(b"a", b"x"), (b"a", b"other"), (b"b", b"x"), (b"b", b"other")])
    app, table = restarted(broker, settings)
    with capture_logs() as logs:
        async with running(app):
            assert dict(table.items()) == {b"a": b"other", b"b": b"other"}
    assert rebuilt_by(logs) == {Distrust.OTHER_TOPIC: [0, 1]}
    assert next(e["rebuilt_states"] for e in logs if e["event"] == "table.replayed") == 2


async def test_a_store_that_is_too_old_is_filled_again(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await appended(broker, settings, running, (b"a", b"1"), (b"b", b"1"))
    app, table = restarted(broker, settings.model_copy(update={"local_store_max_age_s": 1e-6}))
    with capture_logs() as logs:
        async with running(app):
            assert dict(table.items()) == {b"a": b"1", b"b": b"1"}
    assert rebuilt_by(logs) == {Distrust.TOO_OLD: [0, 1]}
    assert read_by(logs) == 2


async def test_a_store_with_damaged_files_is_filled_again(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await appended(broker, settings, running, (b"a", b"1"), (b"b", b"1"))
    for manifest in settings.datadir.glob("tables/*/states/MANIFEST-*"):
        manifest.write_bytes(b"garbage")
    app, table = restarted(broker, settings)
    with capture_logs() as logs:
        async with running(app):
            assert dict(table.items()) == {b"a": b"1", b"b": b"1"}
    assert [e["log_level"] for e in logs if e["event"] == "store.thrown_away"] == ["error"]
    assert rebuilt_by(logs) == {Distrust.NOTHING_STORED: [0, 1]}


async def test_a_partition_that_comes_back_is_read_on_from_where_it_left(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await broker.send(broker.source, [(b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"d", b"1")])
    async with running(app):
        await until(lambda: _has_committed(broker, app, 4))
        await table.replay({1})
        assert dict(table.items()).keys() < {b"a", b"b", b"c", b"d"}
        # Its other owner writes meanwhile.
        await broker.send(broker.changelog, [(b"new", b"1")], partition=0)
        with capture_logs() as logs:
            await table.replay({0, 1})
        assert dict(table.items()).keys() == {b"a", b"b", b"c", b"d", b"new"}
    assert (rebuilt_by(logs), read_by(logs)) == ({}, 1)


async def test_what_the_store_has_of_partitions_that_left_goes_when_it_is_too_old(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    await appended(broker, settings, running, (b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"d", b"1"))
    app, table = restarted(broker, settings)
    async with running(app):
        old = settings.model_copy(update={"local_store_max_age_s": 1e-6})
        table._settings = old  # noqa: SLF001
        await table.replay({1})
        assert table._local.positions().keys() == {1}  # noqa: SLF001
        assert list(table._local.items(0)) == []  # noqa: SLF001


async def _has_committed(broker: Broker, app: DeliveryApp, count: int) -> bool:
    return await broker.committed(app.conf.id) == count


async def _last_is(broker: Broker, key: bytes, value: bytes) -> bool:
    return (await values_of(broker, key))[-1] == value
