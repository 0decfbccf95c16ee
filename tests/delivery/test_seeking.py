"""Seeking while the group rebalances: what is no longer owned is not accounted for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from delivery.app import create_app
from delivery.consumer import AccountingConsumer, LogPosition, consumer_of
from delivery.settings import DeliverySettings

KEPT, GONE = TP("numbers", 0), TP("numbers", 1)
LOGS = dict.fromkeys((KEPT, GONE), LogPosition(committed=0, first=0, end=5))


@pytest.fixture
async def consumer(settings: DeliverySettings, monkeypatch: pytest.MonkeyPatch) -> AccountingConsumer:
    """A consumer that owns two partitions; nothing is connected."""
    consumer = consumer_of(create_app("seeking", settings))
    monkeypatch.setattr(consumer, "assignment", lambda: {KEPT, GONE})
    monkeypatch.setattr(consumer.thread, "positions", answers(LOGS))
    monkeypatch.setattr(consumer.thread, "seek_back", answers(None))
    consumer.owned = {KEPT, GONE}
    consumer.app.consumer_generation_id = 7
    return consumer


def answers(found: Any, meanwhile: Callable[[], object] = lambda: None) -> Callable[..., Any]:
    async def ask(*_: object) -> Any:
        meanwhile()
        return found

    return ask


async def test_a_partition_that_is_revoked_meanwhile_is_left_alone(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke = answers(LOGS, lambda: consumer.owned.discard(GONE))
    monkeypatch.setattr(consumer.thread, "positions", revoke)
    await consumer.perform_seek()
    assert set(consumer.ledger.partitions) == {KEPT}


async def test_after_another_rebalance_nothing_of_the_earlier_assignment_is_taken(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rebalance() -> None:
        consumer.app.consumer_generation_id = 8

    monkeypatch.setattr(consumer.thread, "positions", answers(LOGS, rebalance))
    await consumer.perform_seek()
    assert consumer.ledger.partitions == {}


async def test_between_revocation_and_assignment_nothing_is_sought(consumer: AccountingConsumer) -> None:
    consumer.owned = set()
    await consumer.perform_seek()
    assert consumer.ledger.partitions == {}


@pytest.mark.parametrize("resumed_first", [True, False])
async def test_fetching_begins_when_all_that_is_owned_is_sought_and_resumed(
    consumer: AccountingConsumer, *, resumed_first: bool
) -> None:
    async def resume() -> None:
        consumer.resume_partitions({KEPT})
        assert not consumer.may_fetch.is_set()
        consumer.resume_partitions({GONE})

    steps = [resume, consumer.perform_seek] if resumed_first else [consumer.perform_seek, resume]
    for step in steps:
        assert not consumer.may_fetch.is_set()
        await step()
    assert consumer.may_fetch.is_set()
    consumer.pause_partitions({KEPT, GONE})
    await consumer.on_partitions_revoked({KEPT, GONE})
    assert not consumer.may_fetch.is_set()


async def test_a_spare_worker_fetches_nothing(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "assignment", set)
    consumer.owned = set()
    consumer.resume_partitions(set())
    await consumer.perform_seek()
    assert not consumer.may_fetch.is_set()


async def test_a_rebalance_while_the_worker_stops_leaves_the_client_to_the_stop(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SimpleNamespace(_closed=False)
    monkeypatch.setattr(consumer.thread, "_consumer", client)
    cast(Any, consumer.app)._stopped.set()  # noqa: SLF001  as its stop begins
    await consumer.on_partitions_revoked({KEPT, GONE})
    await consumer.on_partitions_assigned({KEPT}, 8)
    assert not client._closed  # noqa: SLF001
