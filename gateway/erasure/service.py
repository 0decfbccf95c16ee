"""Erase a cart and what its shopper's orders say of a person: `Erasure.erase` is the whole flow.

1. Lock: no checkout of the cart meanwhile. A courtesy; whoever orders afterwards can be erased again.
2. Version: above everything that Redis and the row know, so that all of it is erased.
3. Transaction: orders, checkouts, merges and mails in Postgres, and the erasure of the cart in the outbox.
4. Wait until compaction and the sink have written the empty cart, and bring it into Redis: over the copy that
   is there, or as any row that Redis lacks. Redis may be lost at any time, so a row counts after a miss only.
5. Redis outbox: changes of the cart that still wait there for Kafka are dropped. Not before: Redis would know
   the operation and lack its entry, so a retry would be told that Kafka has it.

Whatever dies after step 3: the job `relay` publishes the erasure, and the sinks carry it everywhere.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import psycopg
import structlog

from carts.operations import Change, Erase
from carts.protocol import CartRow
from carts.state import State
from gateway.erasure.certificate import KEPT, Certificate, Copy, Removed, expires
from store.postgres import carts, erasure
from store.redis import CartStore, Missing, PutOutcome, StoredCart, StoreError, StoreFull

log = structlog.get_logger(__name__)

T = TypeVar("T")

CAUSE: Final = "erasure"
_LOCK_MARGIN_S: Final = 15.0
"""For the transaction, which comes before the wait."""
_POLL_S: Final = 0.1
_PAGE: Final = 1000


class BeingOrdered(Exception):
    """The cart is being ordered: erase it afterwards."""

    def __init__(self, ttl_ms: int) -> None:
        """`ttl_ms`: in how many milliseconds the checkout has ended, at the latest."""
        super().__init__(self.__doc__)
        self.ttl_ms = ttl_ms


class Transactions(Protocol):
    """Postgres: what `work` returns, done in one transaction."""

    async def transact(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Commit what `work` does, or roll it back if it raises."""
        ...


class Erasure:
    """Erases carts."""

    def __init__(self, store: CartStore, database: Transactions, wait_s: float) -> None:
        """`wait_s`: how long to wait for every store to have done it."""
        self._store = store
        self._database = database
        self._wait_s = wait_s

    async def erase(self, cart_id: str, actor: str | None) -> Certificate:
        """Erase and certify. To do it again does no harm.

        Raises BeingOrdered, StoreError when Redis fails, and whatever the database raises: then it may have
        been done.
        """
        erasure_id = secrets.token_hex(16)
        async with self._checkout_lock(cart_id, erasure_id):
            copy = await self._store.read(cart_id)
            operations = await self._store.window(cart_id)
            row = (await self._row(cart_id)).state
            version = await self._version_above(cart_id, copy, row)
            change = Change(
                cart_id=cart_id,
                version=version,
                op_id=f"!erase/{erasure_id}",
                delta=(Erase(),),
                actor=actor,
                cause=CAUSE,
            )
            personal, changes = await self._database.transact(partial(erasure.erase, change=change))
            guests = await self._database.transact(partial(erasure.merged_guests, cart_id=cart_id))
            waits_for = await self._until_done(cart_id, version)
            dropped = 0 if waits_for else await self._drop_waiting(cart_id, version)
        at = datetime.now(UTC)
        removed = Removed(
            redis=Copy(
                lines=len(copy.view().lines) if isinstance(copy, StoredCart) else 0,
                operations=len(operations) if isinstance(operations, list) else 0,
            ),
            row=Copy(lines=_lines(row), operations=0 if row is None else len(row.ops)),
            outbox_entries=dropped,
            orders=personal.orders,
            checkouts=personal.checkouts,
            transfers=personal.transfers,
            mails=personal.mails,
            changes=changes,
            links=personal.links,
        )
        return Certificate(
            erasure_id=erasure_id,
            cart_id=cart_id,
            erased_at=at,
            version=version,
            complete=not waits_for,
            waits_for=waits_for,
            removed=removed,
            merged_guests=guests,
            expires=expires(at),
            kept=KEPT,
        )

    async def _row(self, cart_id: str) -> CartRow:
        places = {cart_id: self._store.partition(cart_id)}
        return (await self._database.transact(partial(carts.look_up, partitions=places)))[cart_id]

    async def _version_above(self, cart_id: str, copy: object, row: State | None) -> int:
        """An odd version number above the copies and Redis's clock: no write has or gets one like it."""
        newest = max(
            copy.version.number if isinstance(copy, StoredCart) else 0,
            0 if row is None else row.version_number,
            2 * await self._store.time_us(cart_id),
        )
        return newest + 1 + newest % 2

    async def _drop_waiting(self, cart_id: str, version: int) -> int:
        """Take the cart's erased changes out of the Redis outbox; how many there were."""
        partition, after, dropped = self._store.partition(cart_id), "0-0", 0
        while page := await self._store.outbox_read(partition, after, _PAGE):
            after = page[-1].id
            found = [
                (entry.id, entry.op_id)
                for entry in page
                if entry.cart_id == cart_id and entry.version <= version
            ]
            dropped += await self._store.outbox_remove(partition, found)
        return dropped

    async def _until_done(self, cart_id: str, version: int) -> list[str]:
        """Wait until the row is erased, then bring it into Redis; what is not done in time."""
        waits_for = ["carts", "Postgres", "Redis"]
        try:
            async with asyncio.timeout(self._wait_s):
                while _erased((await self._row(cart_id)).state) < version:  # noqa: ASYNC110  no store tells
                    await asyncio.sleep(_POLL_S)
                waits_for = ["Redis"]
                while not await self._bring_in(cart_id, version):  # noqa: ASYNC110  likewise
                    await asyncio.sleep(_POLL_S)
                return []
        except TimeoutError:
            return waits_for

    async def _bring_in(self, cart_id: str, version: int) -> bool:
        """Whether Redis has the erased row; not while it has changes that the row lacks."""
        copy = await self._store.read(cart_id)
        row = await self._row(cart_id)  # after the miss, if it was one: an earlier look does not count
        if row.state is None or _erased(row.state) < version:
            return False
        match copy:
            case StoredCart():
                states = [(cart_id, row.state)]
                (result,) = await self._store.replace(self._store.partition(cart_id), states)
                return result.outcome is PutOutcome.REPLACED
            case Missing() if copy.is_met_by(row):
                try:
                    # Not just left away: a request that has found the old row may be about to bring that in.
                    return await self._store.hydrate(cart_id, row.state, copy.found(row))
                except StoreFull:
                    return True  # if somebody does bring the old row in, following replaces it
            case _:
                return False

    @asynccontextmanager
    async def _checkout_lock(self, cart_id: str, token: str) -> AsyncIterator[None]:
        """Holds the cart's checkout lock. Raises BeingOrdered while a checkout holds it."""
        ttl_ms = int((self._wait_s + _LOCK_MARGIN_S) * 1000)
        lock = await self._store.lock_checkout(cart_id, token, ttl_ms)
        if lock.token != token:
            raise BeingOrdered(lock.ttl_ms)
        try:
            yield
        finally:
            try:
                await self._store.unlock_checkout(cart_id, token)
            except StoreError as error:
                log.warning("erasure.lock_not_released", error=repr(error))


def _erased(state: State | None) -> int:
    return -1 if state is None else state.erased


def _lines(state: State | None) -> int:
    if state is None:
        return 0
    return sum(1 for line in state.content().lines.values() if line.quantity > 0)
