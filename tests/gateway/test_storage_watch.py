"""The gateway's look at the memory of Redis goes on, whatever a look meets."""

from typing import Any

import pytest
import structlog

from gateway.metrics import Metrics
from gateway.resilience import storage
from gateway.resilience.storage import StorageWatch
from gateway.settings import GatewaySettings
from store.redis import Memory
from tests.support.waiting import until


class Store:
    """A store whose server says nonsense once."""

    has_room = True
    is_near_bound = True
    looks = 0

    def bound_outbox(self, _max_bytes: int) -> None:
        """As the settings say."""

    async def ask_role(self) -> None:
        """As it is."""

    async def memories(self) -> list[Memory]:
        """Full from the third look on."""
        self.looks += 1
        if self.looks == 2:
            raise ValueError("used_memory")
        return [Memory(100 if self.looks > 2 else 1, 100)]


async def test_it_goes_on_after_an_error_that_nobody_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOOK_S", 0.01)
    store: Any = Store()
    watch = StorageWatch(store, None, GatewaySettings(), Metrics())
    await watch.start()
    try:
        await until(lambda: not store.has_room, "the full Redis is seen")
    finally:
        await watch.stop()


class SenselessStore(Store):
    """A store whose server says nonsense in its first looks."""

    async def memories(self) -> list[Memory]:
        """Full from the fourth look on."""
        self.looks += 1
        if self.looks < 4:
            raise ValueError("used_memory")
        return [Memory(100, 100)]


async def test_nonsense_at_start_ends_nothing_and_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOOK_S", 0.01)
    store: Any = SenselessStore()
    watch = StorageWatch(store, None, GatewaySettings(), Metrics())
    with structlog.testing.capture_logs() as logs:
        await watch.start()
        try:
            await until(lambda: not store.has_room, "the full Redis is seen")
            await until(lambda: store.looks > 5, "it was looked again")
        finally:
            await watch.stop()
    told = [entry["event"] for entry in logs if entry["event"].startswith("storage.")]
    assert told == ["storage.failed", "storage.works"]
