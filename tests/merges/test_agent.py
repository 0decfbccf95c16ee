"""The agent's decision about a batch whose merges it cannot note as taken."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import psycopg
import pytest

from store.postgres import merges
from streams.merge_settings import MergeSettings
from streams.merges import MergeWorker
from tests.support.processes import INTERNAL
from topics.records import MergeRecord


class Database:
    """Knows of no merge; notes those that it can."""

    def __init__(self, lost: set[str]) -> None:
        self.lost = lost
        self.noted: set[str] = set()

    async def transact(self, work: partial[Any]) -> None:
        """As AgentDatabase."""
        asked: Callable[..., Any] = work.func
        if asked is merges.taken:
            merge_id = work.keywords["merge_id"]
            if merge_id in self.lost:
                raise psycopg.OperationalError("the server closed the connection")
            self.noted.add(merge_id)


def record(merge_id: str) -> Any:
    found = MergeRecord(
        merge_id=merge_id, guest_cart_id="guest:1", cart_id="user:1", requested_at=datetime.now(UTC)
    )
    return SimpleNamespace(key=b"user:1", value=msgspec.json.encode(found))


async def test_a_batch_comes_again_if_one_of_its_merges_cannot_be_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in INTERNAL.items():
        monkeypatch.setenv(name, value)
    worker, database = MergeWorker(MergeSettings()), Database({"m_2"})
    monkeypatch.setattr(worker, "_database", database)
    batch = [record(f"m_{number}") for number in range(4)]
    with pytest.raises(psycopg.OperationalError):
        await worker.carry_on(batch)
    # Nobody goes on in the background.
    assert database.noted == {"m_0", "m_1", "m_3"}
    database.lost.clear()
    await worker.carry_on(batch)
    assert "m_2" in database.noted
