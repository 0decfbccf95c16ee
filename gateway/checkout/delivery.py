"""Deliver a cart: what Redis knows of it goes into Kafka and comes back as the row that is ordered from."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from carts.state import State, uncovered
from gateway.carts.problems import restoring
from gateway.http import problems
from gateway.http.problems import Problem, retry_after
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from gateway.outbox.sweeper import Sweeper
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.deadline import Deadline, ask_until
from gateway.settings import GatewaySettings
from store.redis import Applied, CartStore, Layout, OutboxEntry, Replayed, Restoring, WindowEntry

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.05
_PAGE: Final = 200


class Snapshots:
    """Takes snapshots of carts, never out of Redis: its copy may have fallen back, the folded one not."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        layout: Layout,
        publisher: ChangePublisher,
        sweeper: Sweeper,
        hydration: Hydration,
    ) -> None:
        self._settings = settings
        self._store = store
        self._layout = layout
        self._publisher = publisher
        self._sweeper = sweeper
        self._hydration = hydration

    async def take(self, cart_id: str, deadline: Deadline) -> State | None:
        """The cart's row, once it has all that Redis's copy had when this was called; None without a cart.

        Raises Problem: in time it did not come to that.
        """
        window = await self._window(cart_id)
        is_delivered = False
        while True:
            row = await self.row(cart_id)
            missing = _missing(row, window)
            if not missing:
                return row
            if not is_delivered:
                await self._deliver(cart_id, missing)
                is_delivered = True
            elif not self._publisher.connected:
                raise not_delivered("Kafka does not acknowledge it")
            elif deadline.left() <= _POLL_S:
                raise not_delivered("it takes too long to get there")
            await asyncio.sleep(_POLL_S)

    async def row(self, cart_id: str) -> State | None:
        """The cart's row as it is. Raises Problem when Postgres does not answer."""
        try:
            found = await self._hydration.find(cart_id)
        except DatabaseUnavailable as error:
            raise Problem(
                problems.DATABASE_UNAVAILABLE,
                "The database did not answer; nothing was done. Send the request again, with the same "
                "Idempotency-Key.",
                headers=retry_after(1),
            ) from error
        return found if isinstance(found, State) else None

    async def publish(self, applied: Applied | Replayed) -> bool:
        """Publish an operation that stands in the outbox; whether Kafka has it. If not, the sweeper does."""
        entry = applied.entry
        if entry is None:
            return True
        if self._sweeper.is_backlog(applied.oldest_outbox_us):
            return False
        return await self._publisher.publish(applied.partition, record_of(entry)) is not None

    async def _window(self, cart_id: str) -> Sequence[WindowEntry]:
        window = await self._store.window(cart_id)
        if isinstance(window, Restoring):
            await self._store.wish(self._layout.partition(cart_id))
            window = await ask_until(
                lambda: self._store.window(cart_id),
                lambda answer: not isinstance(answer, Restoring),
                self._settings.restore_wait_s,
            )
        if isinstance(window, Restoring):
            raise restoring()
        return window

    async def _deliver(self, cart_id: str, missing: Sequence[WindowEntry]) -> None:
        """Publish what of `missing` is still in the outbox; the rest is on its way already."""
        waiting = {entry.outbox_id for entry in missing if entry.outbox_id is not None}
        if not waiting:
            return
        partition = self._layout.partition(cart_id)
        depths = await self._store.outbox_depths()
        if self._sweeper.is_backlog(depths[partition].oldest_us):
            return
        entries = await self._entries(partition, waiting)
        await asyncio.gather(*(self._publisher.publish(partition, record_of(entry)) for entry in entries))

    async def _entries(self, partition: int, ids: set[str]) -> list[OutboxEntry]:
        found: list[OutboxEntry] = []
        after, last = _before(min(ids, key=_order)), _order(max(ids, key=_order))
        while _order(after) < last:
            page = await self._store.outbox_read(partition, after, _PAGE)
            if not page:
                break
            found += [entry for entry in page if entry.id in ids]
            after = page[-1].id
        return found


def not_delivered(reason: str) -> Problem:
    """The answer while the folded cart does not have what Redis has: nothing was ordered."""
    return Problem(
        problems.CART_NOT_DELIVERED,
        f"What was last done to the cart has not arrived in the database: {reason}. Nothing was ordered; "
        "send the request again, with the same Idempotency-Key.",
        headers=retry_after(1),
    )


def _missing(row: State | None, window: Sequence[WindowEntry]) -> list[WindowEntry]:
    lacking = set(uncovered(row or State(), ((entry.version, entry.op_id) for entry in window)))
    return [entry for entry in window if (entry.version, entry.op_id) in lacking]


def _order(outbox_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = outbox_id.partition("-")
    return int(milliseconds), int(sequence)


def _before(outbox_id: str) -> str:
    milliseconds, sequence = _order(outbox_id)
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"
