"""Seeking while the group rebalances: what is no longer owned is not accounted for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faust.types import TP

from delivery.app import create_app
from delivery.consumer import AccountingConsumer, consumer_of
from delivery.settings import DeliverySettings

KEPT, GONE = TP("numbers", 0), TP("numbers", 1)


@pytest.fixture
async def consumer(settings: DeliverySettings, monkeypatch: pytest.MonkeyPatch) -> AccountingConsumer:
    """A consumer that owns two partitions; nothing is connected."""
    consumer = consumer_of(create_app("seeking", settings))
    monkeypatch.setattr(consumer, "assignment", lambda: {KEPT, GONE})
    for name in ("seek_to_committed", "earliest_offsets"):
        monkeypatch.setattr(consumer, name, answers(dict.fromkeys((KEPT, GONE), 0)))
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
    ends = dict.fromkeys((KEPT, GONE), 5)
    monkeypatch.setattr(consumer, "highwaters", answers(ends, lambda: consumer.owned.discard(GONE)))
    await consumer.perform_seek()
    assert set(consumer.ledger.partitions) == {KEPT}


async def test_after_another_rebalance_nothing_of_the_earlier_assignment_is_taken(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rebalance() -> None:
        consumer.app.consumer_generation_id = 8

    monkeypatch.setattr(consumer, "highwaters", answers(dict.fromkeys((KEPT, GONE), 5), rebalance))
    await consumer.perform_seek()
    assert consumer.ledger.partitions == {}


async def test_between_revocation_and_assignment_nothing_is_sought(
    consumer: AccountingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "highwaters", answers(dict.fromkeys((KEPT, GONE), 5)))
    consumer.owned = set()
    await consumer.perform_seek()
    assert consumer.ledger.partitions == {}
