"""Partitions in Redis: whether they are ready, their restoration, and the states that are put into them."""

import secrets
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

from carts.lifetime import Lifetime
from carts.limits import Timing
from carts.protocol import Deleted, Marker
from carts.state import State, Version
from store.redis import answers, scripts
from store.redis.absence import Missing
from store.redis.client import PipelinedClient
from store.redis.errors import PartitionClosed, StoreError, StoreFull
from store.redis.layout import Layout
from store.redis.packing import pack_copy, pack_deletion, pack_version
from store.redis.results import PositionMoved, PutResult, RestoreLost, Restoring, StatesNeeded
from store.redis.wire import Argument

Put = State | Deleted
"""What is put into Redis: the state of a cart, or that it was deleted."""

Followed = Put | Version
"""What is followed: also the version of a state alone, enough where Redis has that state or has gone on."""

_RESTORE_REQUEST_S: Final = 60


class PartitionStore:
    """Methods raise StoreError (store.redis.errors) when Redis fails."""

    def __init__(self, client: PipelinedClient, layout: Layout, timing: Timing, lifetime: Lifetime) -> None:
        self._client: Final = client
        self._layout: Final = layout
        self._timing: Final = timing
        self._lifetime: Final = lifetime

    def partition(self, cart_id: str) -> int:
        """The partition of a cart."""
        return self._layout.partition(cart_id)

    # Ready or not

    async def markers(self) -> dict[int, Marker]:
        """The marker of each partition that is ready."""
        found = await self._markers()
        for marker in found:
            if isinstance(marker, StoreError):
                raise marker
        return {partition: marker for partition, marker in enumerate(found) if isinstance(marker, Marker)}

    async def known_markers(self) -> dict[int, Marker | None]:
        """The same of those partitions whose server answers, None: it is not ready.

        Raises StoreError if no server answers.
        """
        found = await self._markers()
        known = {
            partition: marker for partition, marker in enumerate(found) if not isinstance(marker, StoreError)
        }
        if not known:
            raise next(marker for marker in found if isinstance(marker, StoreError))
        return known

    async def _markers(self) -> list[Marker | StoreError | None]:
        keys = (self._layout.of_partition(partition).ready for partition in range(self._layout.partitions))
        found = await self._client.try_all((b"GET", key) for key in keys)
        return [
            value if value is None or isinstance(value, StoreError) else answers.marker(value)
            for value in found
        ]

    async def marker(self, partition: int) -> Marker | None:
        """The marker of one partition; None: it is not ready."""
        value = await self._client.execute(b"GET", self._layout.of_partition(partition).ready)
        return None if value is None else answers.marker(value)

    async def ready_partitions(self) -> set[int]:
        """The partitions that are ready."""
        return set(await self.markers())

    async def missing(self, partition: int) -> Missing | Restoring:
        """What a cart is missing under that Redis lacks and nobody has asked for yet: marker and time."""
        now, marker = await self._client.execute_all(
            ((b"TIME",), (b"GET", self._layout.of_partition(partition).ready)),
            repeat(self._layout.slot(partition)),
        )
        return answers.missing(marker, answers.microseconds(now))

    async def request_restore(self, partition: int) -> None:
        """Ask for this partition to be restored first (forgotten after a minute)."""
        request = self._layout.of_partition(partition).restore_request
        # Like a lease, which a full Redis gives, too.
        await self._client.run(scripts.LEASE, (request,), (b"1", 1000 * _RESTORE_REQUEST_S))

    async def restore_requests(self) -> set[int]:
        """The partitions that requests wait for, of those whose server answers."""
        partitions = range(self._layout.partitions)
        found = await self._client.try_all(
            (b"EXISTS", self._layout.of_partition(partition).restore_request) for partition in partitions
        )
        return {partition for partition in partitions if found[partition] == 1}

    async def forget_marker(self, partition: int) -> None:
        """Take the marker away, and have the next restoration put all of `carts`."""
        shared = self._layout.of_partition(partition)
        await self._client.run(scripts.FORGET_MARKER, (shared.restore, shared.ready), ())

    # Closed

    async def close_partitions(self) -> None:
        """Close all partitions: no script changes a cart, and none is restored, until they are opened."""
        token = secrets.token_hex(16)
        for partition in range(self._layout.partitions):
            shared = self._layout.of_partition(partition)
            names = (shared.restore, shared.ready, shared.events)
            await self._client.run(scripts.CLOSE_PARTITION, names, (token,))

    async def open_partitions(self) -> None:
        """Let closed partitions be restored again. Opening an open one changes nothing."""
        await self._client.execute_all(
            (b"HDEL", self._layout.of_partition(partition).restore, b"closed")
            for partition in range(self._layout.partitions)
        )

    async def closed_partitions(self) -> set[int]:
        """The partitions that are closed and have no marker."""
        partitions = range(self._layout.partitions)
        found = await self._client.execute_all(
            (b"HEXISTS", self._layout.of_partition(partition).restore, b"closed") for partition in partitions
        )
        return {partition for partition in partitions if found[partition]} - await self.ready_partitions()

    # Put

    async def replace(self, partition: int, states: Sequence[tuple[str, Put]]) -> list[PutResult]:
        """Replace Redis's copy of each cart by the state if it covers it. At most some hundred.

        A cart that Redis lacks stays absent (carts.protocol.replace_outcome): `hydrate` brings it in.
        """
        return self._put_results(states, await self._put(partition, (b"copies", b"", b"", b""), states))

    async def _put(
        self, partition: int, condition: Sequence[Argument], states: Sequence[tuple[str, Followed]]
    ) -> list[Any]:
        """Replace each cart by its state if it covers Redis's copy, on a condition. At most some hundred.

        A full Redis replaces only copies that it has; raises StoreFull if one would be new.
        """
        shared = self._layout.of_partition(partition)
        names = [shared.restore, shared.followed, shared.events, shared.pending_compaction, shared.expired]
        copies: list[Argument] = []
        for cart_id, state in states:
            keys = self._layout.of_cart(cart_id)
            if keys.partition != partition:
                raise ValueError(f"{cart_id} belongs to partition {keys.partition}, not to {partition}")
            names += (keys.cart, keys.ops, keys.win)
            copies += (self._lifetime.idle_limit_s(cart_id), _packed(cart_id, state))
        try:
            reply: list[Any] = await self._client.run(scripts.PUT, names, (*condition, b"", *copies))
        except StoreFull:
            reply = await self._client.run(scripts.PUT_WHEN_FULL, names, (*condition, b"1", *copies))
            if reply[0] == b"full":
                raise
        return reply

    @staticmethod
    def _put_results(states: Sequence[tuple[str, Followed]], reply: list[Any]) -> list[PutResult]:
        return [
            answers.put_result(cart_id, result)
            for (cart_id, _), result in zip(states, reply[1:], strict=True)
        ]

    # Restore

    async def restore_begin(self, partition: int) -> str:
        """Begin a restoration, ending any other; returns its token. The first sequence is 0.

        Raises PartitionClosed.
        """
        token = secrets.token_hex(16)
        shared = self._layout.of_partition(partition)
        if not await self._client.run(scripts.RESTORE_BEGIN, (shared.restore, shared.events), (token,)):
            raise PartitionClosed(f"partition {partition} is closed: its carts move, or have moved")
        return token

    async def restore_from(
        self, partition: int, token: str, sequence: int, position: int
    ) -> int | RestoreLost:
        """Note that the restoration begins at `position` of `carts`; from where Redis may lack something.

        That is lower if an earlier restoration has put something and was not finished, or if Redis has
        followed less far. To be called before the first put; the next sequence is one higher.
        """
        shared = self._layout.of_partition(partition)
        since = await self._client.run(
            scripts.RESTORE_FROM, (shared.restore, shared.followed), (token, sequence, position)
        )
        return RestoreLost() if since is None else int(since)

    async def restore_put(
        self, partition: int, token: str, sequence: int, states: Sequence[tuple[str, Put]], row_from: int = 0
    ) -> list[PutResult] | RestoreLost:
        """Put each state if token and sequence are the restoration's; the next sequence is one higher.

        Expired carts may go once the rows have every record of `carts` before `row_from`.
        """
        reply = await self._put(partition, (b"restoration", token, sequence, row_from), states)
        return RestoreLost() if reply[0] == b"lost" else self._put_results(states, reply)

    async def restore_finish(
        self,
        partition: int,
        token: str,
        sequence: int,
        followed_offset: int,
        *,
        rows_position: int | None = None,
        topic_id: str = "",
    ) -> RestoreLost | None:
        """Set the ready marker and the follow position, if the restoration is still the one that runs.

        `rows_position`: how far the rows were of which the tail was put; None: all of `carts` was put. Asking
        twice does no harm.
        """
        shared = self._layout.of_partition(partition)
        names = (
            *(shared.restore, shared.ready, shared.followed, shared.restore_request, shared.events),
            shared.cold,
        )
        arguments = (
            *(token, sequence, followed_offset, rows_position or 0, topic_id),
            b"0" if rows_position is None else b"1",
        )
        finished = await self._client.run(scripts.RESTORE_FINISH, names, arguments)
        return None if finished else RestoreLost()

    # Follow

    async def followed(self, partition: int) -> int | None:
        """The follow position: the next offset of `carts` to follow."""
        position = await self._client.execute(b"GET", self._layout.of_partition(partition).followed)
        return None if position is None else int(position)

    async def follow_put(
        self,
        partition: int,
        expected_position: int | None,
        new_position: int,
        states: Sequence[tuple[str, Followed]],
    ) -> list[PutResult] | PositionMoved | StatesNeeded:
        """Put each state and move the follow position, if it is the expected one.

        After StatesNeeded ask again with all: Redis may have been put back to an older copy meanwhile.
        """
        expected = b"" if expected_position is None else expected_position
        condition = (b"position", expected, new_position, new_position)
        reply = await self._put(partition, condition, states)
        if reply[0] == b"moved":
            return PositionMoved(None if reply[1] is None else int(reply[1]))
        if b"needed" in reply:
            return StatesNeeded(
                frozenset(
                    cart_id
                    for (cart_id, _), result in zip(states, reply[1:], strict=True)
                    if result == b"needed"
                )
            )
        return self._put_results(states, reply)

    # Warm

    async def cold(self, partition: int) -> int | None:
        """The offset of `carts` before which carts may be cold: in their rows only. None: Redis is warm."""
        position = await self._client.execute(b"GET", self._layout.of_partition(partition).cold)
        return None if position is None else int(position)

    async def warmed(
        self,
        partition: int,
        restoration: str,
        before: int,
        position: int | None,
        cart_ids: Iterable[str],
    ) -> bool:
        """Note that carts are cold before `position` only, no longer before `before`; none: nowhere.

        False: it was restored again, or Redis has fallen back: it is cold from elsewhere, or lacks one of the
        carts.
        """
        shared = self._layout.of_partition(partition)
        names = (shared.ready, shared.cold, *(self._layout.of_cart(cart_id).cart for cart_id in cart_ids))
        arguments = (restoration, before, b"" if position is None else position)
        return bool(await self._client.run(scripts.WARMED, names, arguments))

    async def absent(self, cart_ids: Sequence[str]) -> list[str]:
        """Those of the carts that Redis lacks."""
        found = await self._client.execute_all(
            (b"EXISTS", self._layout.of_cart(cart_id).cart) for cart_id in cart_ids
        )
        return [cart_id for cart_id, there in zip(cart_ids, found, strict=True) if not there]

    # Expired carts

    async def expired_copies(self, partition: int, rows_position: int, count: int) -> list[str]:
        """Carts of which an expired copy was put that rows at `rows_position` of `carts` know of, too."""
        found = await self._client.execute(
            *(b"ZRANGEBYSCORE", self._layout.of_partition(partition).expired, b"-inf", rows_position),
            *(b"LIMIT", 0, count),
        )
        return [cart_id.decode() for cart_id in found]

    async def drop_expired(self, cart_id: str, rows_position: int, restoration: str) -> bool:
        """Drop the cart's expired copy if it may go; False: it stays (carts.protocol.expired_copy_may_go).

        `rows_position` is of the topic that this restoration has read.
        """
        keys = self._layout.of_cart(cart_id)
        shared = self._layout.of_partition(keys.partition)
        names = (keys.cart, keys.ops, keys.win, shared.expired, shared.ready)
        arguments = (
            *(cart_id, rows_position, self._lifetime.idle_limit_s(cart_id)),
            *(self._timing.expired_copy_us, restoration),
        )
        return bool(await self._client.run(scripts.DROP_EXPIRED, names, arguments))


def _packed(cart_id: str, state: Followed) -> bytes:
    match state:
        case Deleted():
            return pack_deletion(cart_id, state)
        case Version():
            return pack_version(cart_id, state)
        case _:
            return pack_copy(cart_id, state)
