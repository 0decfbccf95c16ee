"""Trims idle carts: the operations of their windows, which no retry asks for any more, leave for the base.

A trim says up to when everything that Redis has taken is in `cart-changed`. The fold does what follows from
that for the cart as it is then: so rows may be behind, and a trim may be late, come twice or get lost.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from carts.operations import Change, Trim
from carts.protocol import publish_allowed, too_stale
from carts.state import Status
from jobs.settings import JobsSettings
from store.postgres.carts import RowAge
from store.redis import CartStore, Layout, PipelinedClient, StoreError

log = structlog.get_logger(__name__)

CAUSE: Final = "agents/trimming"


def is_due(row: RowAge, now_us: int, settings: JobsSettings) -> bool:
    """Whether the row is of a cart with a large window that has idled for long enough."""
    idle_us = int(settings.trim_after_s * 1_000_000)
    return (
        0 < settings.trim_window_bytes <= row.window_bytes
        and row.status == Status.ACTIVE
        and too_stale(row.version_number, now_us, idle_us)
    )


class Trimming:
    """Asks Redis how far the log is; an async context manager."""

    def __init__(self, settings: JobsSettings) -> None:
        self._settings: Final = settings
        self._layout: Final = Layout(settings.partitions)
        self._client: Final = PipelinedClient(settings, name="cartstream-trimming")
        self._store: Final = CartStore(self._client, self._layout)

    async def __aenter__(self) -> Self:
        try:
            await self._client.connect()
        except StoreError:
            self._client.keep_connecting()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def commands(self, rows: Sequence[RowAge], now_us: int) -> list[Change]:
        """The trims that are due for rows; none of a partition whose outbox is not published in time.

        None at all while Redis does not answer: the next round looks again.
        """
        due = [row for row in rows if is_due(row, now_us, self._settings)]
        if not due:
            return []
        try:
            found = await self._store.outbox_depths()
        except StoreError as error:
            log.warning("trimming.postponed", carts=len(due), error=repr(error))
            return []
        published = {depth.partition: depth.now_us for depth in found if publish_allowed(depth.oldest_us)}
        partitions = ((row, self._layout.partition(row.cart_id)) for row in due)
        return [trim(row, published[partition]) for row, partition in partitions if partition in published]


def trim(row: RowAge, at_us: int) -> Change:
    """The change that trims a row's cart; `at_us`: when nothing older than D was missing in the log."""
    return Change(
        cart_id=row.cart_id,
        version=2 * at_us,
        op_id=f"!trim/{row.version_number}-{row.operation_count}",
        delta=(Trim(at_us),),
        cause=CAUSE,
    )
