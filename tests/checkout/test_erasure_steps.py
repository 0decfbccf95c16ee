"""In which order an erasure takes a cart away, on stand-ins for the stores."""

from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from carts.content import Content
from carts.fold import fold
from carts.operations import Change, Erase
from carts.protocol import CartRow
from carts.state import State, Version
from gateway.erasure.service import Erasure
from store.postgres.erasure import PersonalRows
from store.redis import CartStore, PutOutcome, StoredCart
from tests.sinks.cart_records import grow

CART = "guest:1"


class Database:
    """The row of the cart; it is erased with the transaction if compaction and the sink work."""

    def __init__(self, row: State, *, is_folded: bool) -> None:
        self.row = row
        self.is_folded = is_folded

    async def transact(self, work: Any) -> Any:
        """What the work of that name returns."""
        match work.func.__name__:
            case "look_up":
                return {CART: CartRow(self.row)}
            case "erase":
                change: Change = work.keywords["change"]
                assert change.delta == (Erase(),)
                if self.is_folded:
                    self.row = cast("State", fold(self.row, change).state)
                return PersonalRows(), 0
            case _:
                return []


@pytest.mark.parametrize("is_folded", [True, False])
async def test_a_waiting_change_is_dropped_when_redis_does_not_know_it_any_more_and_not_before(
    is_folded: bool,  # noqa: FBT001
) -> None:
    waits = SimpleNamespace(id="1-0", cart_id=CART, op_id="op-2", version=2)
    redis = Mock(spec=CartStore)
    redis.partition.return_value = 3
    redis.time_us = AsyncMock(return_value=1)
    redis.window = AsyncMock(return_value=[])
    redis.lock_checkout = AsyncMock(
        side_effect=lambda _, token, ttl_ms: SimpleNamespace(token=token, ttl_ms=ttl_ms)
    )
    copy = Mock(spec=StoredCart, version=Version(1, 1))
    copy.view.return_value = Content()
    redis.read = AsyncMock(return_value=copy)
    redis.replace = AsyncMock(return_value=[SimpleNamespace(outcome=PutOutcome.REPLACED)])
    redis.outbox_read = AsyncMock(side_effect=[[waits], []])
    redis.outbox_remove = AsyncMock(return_value=1)
    database = Database(grow(CART, 2), is_folded=is_folded)
    certificate = await Erasure(redis, database, wait_s=0.05).erase(CART, None)
    assert certificate.complete is is_folded
    assert certificate.removed.outbox_entries == int(is_folded)
    done = [name for name, *_ in redis.method_calls if name in {"replace", "outbox_remove"}]
    assert done == (["replace", "outbox_remove"] if is_folded else [])
