"""Delivering a cart: whatever it waits for when its time is up, the answer is that it is not delivered."""

import asyncio
from typing import Any

import pytest

from carts.state import State
from gateway.checkout.delivery import CartDelivery
from gateway.http.problems import CART_NOT_DELIVERED, Problem
from gateway.resilience.deadline import Deadline
from gateway.settings import GatewaySettings
from store.redis import Layout, WindowEntry


class Redis:
    """A copy with one operation, which is in no outbox any more."""

    async def window(self, _cart_id: str) -> list[WindowEntry]:
        """Its operations."""
        return [WindowEntry(2, "op", None)]


class SlowPostgres:
    """A row that lacks the operation; the second look at it takes longer than anybody waits."""

    def __init__(self) -> None:
        self._looks = 0

    async def find(self, _cart_id: str) -> State:
        """The row, or no answer."""
        self._looks += 1
        if self._looks > 1:
            await asyncio.Event().wait()
        return State()


class Publisher:
    """Connected to Kafka."""

    connected = True


async def test_a_row_that_is_still_being_read_when_the_time_is_up() -> None:
    parts: tuple[Any, ...] = (Redis(), Layout(16), Publisher(), SlowPostgres())
    delivery = CartDelivery(GatewaySettings(), *parts)
    with pytest.raises(Problem) as refused:
        await delivery.deliver("user:1", Deadline(0.2))
    assert refused.value.kind is CART_NOT_DELIVERED
