"""Reads the history of carts: the operations in pages, and a cart as it was, folded from them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from carts.history import beginning, has_gap, replay
from carts.operations import Change, Step, Withdrawal
from carts.state import State
from carts.view import CartView, time_of, view
from gateway.history import problems
from gateway.history.requests import cursor_of
from gateway.postgres.database import Database
from gateway.settings import GatewaySettings
from store.postgres import history
from store.postgres.history import NEWEST, Position

MAX_FOLDED: Final = 10_000
"""Operations folded for one reply."""
_FOLDED_AT_ONCE: Final = 50
"""Then other requests get their turn."""


class HistoryStep(msgspec.Struct, frozen=True):
    """A step of an operation; `line_id` and `quantity` are null where the kind has none."""

    kind: str
    line_id: str | None = None
    quantity: int | None = None


class HistoryEntry(msgspec.Struct, frozen=True):
    """An operation as it was recorded; `version` is what `at` takes."""

    version: int
    time: datetime | None
    steps: list[HistoryStep]
    actor: str | None
    cause: str | None


class HistoryPage(msgspec.Struct, frozen=True):
    """Operations, newest first, and the cursor of the next page; null on the last page."""

    entries: list[HistoryEntry]
    next_cursor: str | None


class PastCart(msgspec.Struct, frozen=True):
    """A cart as it was after the operation of a version."""

    version: int
    cart: CartView


class CartHistory:
    """Each method raises Problem: where there is no history, and when Postgres does not answer."""

    def __init__(self, settings: GatewaySettings, database: Database) -> None:
        self._is_kept = settings.history
        self._retention_us = settings.retention_us
        self._database = database

    async def page(self, cart_id: str, position: Position, limit: int) -> HistoryPage:
        """The cart's operations before a position."""
        self._require()
        found = await self._database.transact(
            partial(history.before, cart_id=cart_id, position=position, limit=limit + 1)
        )
        page = found[:limit]
        cursor = cursor_of(Position(page[-1].version, page[-1].op_id)) if len(found) > limit else None
        return HistoryPage([_entry(change) for change in page], cursor)

    async def at(self, cart_id: str, version: int) -> PastCart:
        """The cart with all operations up to a version. Raises Problem where that is not known, too."""
        self._require()
        changes = await self._until(cart_id, version)
        start = beginning(changes)
        if start is None:
            raise problems.not_in_history(*await self._known(cart_id))
        changes = changes[start:]
        state: State | None = None
        versions = {change.version for change in changes}
        for count, state in enumerate(replay(changes, retention_us=self._retention_us), 1):
            if state is not None:
                versions.add(state.version_number)
            if not count % _FOLDED_AT_ONCE:
                await asyncio.sleep(0)
        if has_gap(changes, versions):
            raise problems.incomplete()
        return PastCart(max(change.version for change in changes), view(cart_id, state or State()))

    async def _known(self, cart_id: str) -> tuple[datetime | None, datetime | None]:
        """From when on the cart is known, and from when on operations of it are kept."""
        changes = await self._until(cart_id, NEWEST)
        start = beginning(changes)
        return None if start is None else _oldest(changes[start:]), _oldest(changes)

    async def _until(self, cart_id: str, version: int) -> list[Change]:
        changes = await self._database.transact(
            partial(history.until, cart_id=cart_id, version=version, limit=MAX_FOLDED + 1)
        )
        if len(changes) > MAX_FOLDED:
            raise problems.too_long(MAX_FOLDED)
        return changes

    def _require(self) -> None:
        if not self._is_kept:
            raise problems.no_history()


def _oldest(changes: Sequence[Change]) -> datetime | None:
    return time_of(min((change.version for change in changes), default=0))


def _entry(change: Change) -> HistoryEntry:
    steps = [shown for step in change.delta for shown in _shown(step)]
    return HistoryEntry(change.version, time_of(change.version), steps, change.actor, change.cause)


def _shown(step: Step) -> list[HistoryStep]:
    """The step; one that takes out several lines is shown once for each."""
    kind = str(step.__struct_config__.tag)
    if isinstance(step, Withdrawal):
        return [HistoryStep(kind, line.line_id, line.quantity) for line in step.lines] or [HistoryStep(kind)]
    return [HistoryStep(kind, getattr(step, "line_id", None), getattr(step, "quantity", None))]
