"""Orders whose checkout died after they were placed: which are taken out of their carts, and when."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from carts.fold import fold
from carts.operations import Add, Change, Expire, Item
from carts.ordering import lines_to_order, subtraction
from carts.state import State
from carts.view import Totals
from jobs.settings import JobsSettings
from jobs.settlement import Rows, Settlement, Standing
from runtime.clock import clock_us
from store.postgres import orders
from store.postgres.order_records import PlacedOrder
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings, StoredCart
from tests.gateway.cart_client import set_ready
from tests.gateway.rows import born, insert
from tests.support.absent_carts import hydrated
from tests.support.servers import Urls
from topics.codec import decode_change
from topics.records import OrderLine, OrderRecord, OrderStatus
from topics.registry import PARTITIONS


class Books:
    """The tables, Redis and the job, without the processes that would change them meanwhile."""

    def __init__(self, urls: Urls, connection: psycopg.AsyncConnection[Any], store: CartStore) -> None:
        self.urls = urls
        self.connection = connection
        self.store = store
        self.now_us = clock_us()
        settings = JobsSettings(settlement_grace_s=0)
        self._settlement = Settlement(settings, lambda: self.now_us)

    async def place(self, cart_id: str, snapshot: State) -> str:
        """An order of all that the snapshot has; its id."""
        order_id = f"o_{uuid4().hex}"
        lines = [OrderLine(line.line_id, line.line_id, line.quantity, 1) for line in lines_to_order(snapshot)]
        record = OrderRecord(
            order_id=order_id,
            cart_id=cart_id,
            seq=1,
            status=OrderStatus.PLACED,
            version=1,
            currency="EUR",
            lines=lines,
            totals=Totals(0, 0, 0, 0),
            placed_at=datetime.now(UTC),
        )
        delta = subtraction(order_id, lines_to_order(snapshot), snapshot)
        await orders.insert(
            self.connection,
            PlacedOrder(record=record, subtraction=delta, snapshot_version=snapshot.version_number),
        )
        return order_id

    async def row(self, cart_id: str, state: State | None) -> None:
        """Make the cart's row what the sink would make it."""
        if state is None:
            await self.connection.execute("DELETE FROM carts WHERE cart_id = %s", (cart_id,))
        else:
            await insert(self.urls.postgres, cart_id, state)

    async def round(self) -> dict[Standing, int]:
        """One round of the job."""
        return dict(await self._settlement.round(self.connection, self.store))

    async def settled(self, order_id: str) -> bool:
        """Whether the order is known to have left its cart."""
        cursor = await self.connection.execute(
            "SELECT settled_at IS NOT NULL FROM orders WHERE order_id = %s", (order_id,)
        )
        row = await cursor.fetchone()
        assert row is not None
        return bool(row[0])

    async def quantities(self, cart_id: str) -> dict[str, int]:
        """What Redis has in the cart."""
        cart = await self.store.read(cart_id)
        assert isinstance(cart, StoredCart)
        return {line.line_id: line.quantity for line in cart.view().lines}

    async def subtracted(self, cart_id: str, state: State) -> State:
        """The state after the events that wait in the outbox."""
        for entry in await self.store.outbox_read(Layout(PARTITIONS).partition(cart_id)):
            state = fold(state, decode_change(entry.event)).state or state
        return state


@pytest.fixture
async def books(urls: Urls) -> AsyncIterator[Books]:
    """Empty books."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(urls.postgres, autocommit=True)
        )
        await connection.execute("TRUNCATE orders, carts CASCADE")
        client = await stack.enter_async_context(PipelinedClient(RedisSettings(redis_url=urls.redis)))
        layout = Layout(PARTITIONS)
        store = CartStore(client, layout, rows=Rows(connection, layout))
        await set_ready(store)
        yield Books(urls, connection, store)


@pytest.fixture
def cart_id() -> str:
    """A cart nobody has used."""
    return f"user:{uuid4().hex}"


def lately() -> int:
    """A version of some seconds ago."""
    return 2 * (time.time_ns() // 1000 - 5_000_000)


def expired(cart_id: str, state: State) -> State:
    """The state after its cart has idled for too long."""
    expiry = Expire(
        seen=state.version_number,
        seen_operation_count=state.operation_count,
        at=state.version_number // 2 + 1_000_000,
    )
    found = fold(
        state, Change(cart_id=cart_id, version=state.version_number + 2, op_id="!age", delta=(expiry,))
    ).state
    assert found is not None
    assert found.expired
    return found


async def test_an_order_that_its_cart_does_not_know_is_taken_out_of_it_and_settled(
    books: Books, cart_id: str
) -> None:
    state = born(cart_id, lately(), quantity=3)
    await books.row(cart_id, state)
    assert await hydrated(books.store, cart_id, state)
    order_id = await books.place(cart_id, state)

    assert await books.round() == {Standing.SETTLED: 0, Standing.WAITS: 0, Standing.DUE: 1}
    assert await books.quantities(cart_id) == {}
    assert not await books.settled(order_id)
    assert (await books.round())[Standing.DUE] == 1

    await books.row(cart_id, await books.subtracted(cart_id, state))
    assert (await books.round())[Standing.SETTLED] == 1
    assert await books.settled(order_id)
    assert await books.round() == {}


async def test_a_row_that_cannot_be_read_stops_no_order_of_another_cart(books: Books, cart_id: str) -> None:
    other, state = f"{cart_id}-2", born(cart_id, lately(), quantity=3)
    unreadable, order_id = await books.place(other, state), await books.place(cart_id, state)
    await books.row(other, state)
    await books.row(cart_id, state)
    await books.connection.execute("UPDATE carts SET state = '{\"ops\": 1}' WHERE cart_id = %s", (other,))
    with capture_logs() as logs:
        assert await books.round() == {Standing.SETTLED: 0, Standing.WAITS: 1, Standing.DUE: 1}
        assert await books.quantities(cart_id) == {}
        await books.row(cart_id, await books.subtracted(cart_id, state))
        await books.round()
    assert [await books.settled(each) for each in (unreadable, order_id)] == [False, True]
    told = [entry["order_id"] for entry in logs if entry["event"] == "settlement.row_unreadable"]
    assert told == [unreadable]
    assert REGISTRY.get_sample_value("cartstream_jobs_unreadable_rows", {"job": "settlement"}) == 1
    await books.row(other, state)
    await books.round()
    assert REGISTRY.get_sample_value("cartstream_jobs_unreadable_rows", {"job": "settlement"}) == 0


async def test_what_was_added_since_stays_when_redis_had_lost_the_cart(books: Books, cart_id: str) -> None:
    snapshot = born(cart_id, lately(), quantity=3)
    more = Change(
        cart_id=cart_id,
        version=snapshot.version_number + 2,
        op_id="more",
        delta=(Add("sku-1", 2, 1999, "EUR", Item("sku-1")),),
    )
    newest = fold(snapshot, more).state
    assert newest is not None
    await books.row(cart_id, newest)
    await books.place(cart_id, snapshot)
    assert (await books.round())[Standing.DUE] == 1
    assert await books.quantities(cart_id) == {"sku-1": 2}


async def test_an_order_waits_while_its_cart_is_expired_and_goes_on_when_it_is_revived(
    books: Books, cart_id: str
) -> None:
    state = born(cart_id, lately(), quantity=3)
    order_id = await books.place(cart_id, state)
    gone = expired(cart_id, state)
    await books.row(cart_id, gone)
    assert (await books.round())[Standing.WAITS] == 1

    late = Change(
        cart_id=cart_id,
        version=state.version_number + 1_000,
        op_id="late",
        delta=(Add("sku-2", 1, 5, "EUR", Item("sku-2")),),
        previous_version=state.version_number,
    )
    revived = fold(gone, late).state
    assert revived is not None
    assert not revived.expired
    await books.row(cart_id, revived)
    assert (await books.round())[Standing.DUE] == 1
    assert await books.quantities(cart_id) == {"sku-2": 1}
    await books.row(cart_id, await books.subtracted(cart_id, revived))
    assert (await books.round())[Standing.SETTLED] == 1
    assert await books.settled(order_id)


async def test_an_order_of_a_cart_without_a_row_waits_until_that_can_only_be_a_deletion(
    books: Books, cart_id: str
) -> None:
    order_id = await books.place(cart_id, born(cart_id, lately()))
    assert (await books.round())[Standing.WAITS] == 1
    books.now_us += JobsSettings().lifetime.retention_s * 1_000_000 + 60_000_000
    assert (await books.round())[Standing.SETTLED] == 1
    assert await books.settled(order_id)


async def test_a_cart_born_after_the_deletion_owes_the_order_nothing(books: Books, cart_id: str) -> None:
    snapshot = born(cart_id, lately())
    order_id = await books.place(cart_id, snapshot)
    step = Add("sku-1", 4, 1999, "EUR", Item("sku-1"))
    change = Change(cart_id=cart_id, version=snapshot.version_number + 4, op_id="again", delta=(step,))
    reborn = fold(None, change, purge_floor=snapshot.version_number).state
    assert reborn is not None
    await books.row(cart_id, reborn)
    assert (await books.round())[Standing.SETTLED] == 1
    assert await books.settled(order_id)


async def test_a_young_order_is_left_to_its_checkout(books: Books, cart_id: str) -> None:
    state = born(cart_id, lately())
    await books.row(cart_id, state)
    await books.place(cart_id, state)
    patient = Settlement(JobsSettings(settlement_grace_s=60))
    assert await patient.round(books.connection, books.store) == {}
