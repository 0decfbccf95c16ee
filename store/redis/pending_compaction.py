"""Pending compaction: carts with changes that no state put into Redis has covered yet, so perhaps lost ones.

The change script enters a cart, with the v of its oldest such change; the put script takes it out, or moves
it on to the oldest one that the state still lacks. Both do it in the very step that makes it true, so nothing
written is ever missing from it: normally it holds what is in flight, for some hundred milliseconds.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from carts.operations import Operation
from store.redis import answers, scripts
from store.redis.client import PipelinedClient
from store.redis.layout import Layout
from store.redis.packing import unpack_entry
from store.redis.wire import Argument

_PAGE: Final = 1000


class PendingCompaction:
    """The carts of each partition. Each method raises store.redis.errors.StoreError when Redis fails."""

    def __init__(self, client: PipelinedClient, layout: Layout) -> None:
        self._client: Final = client
        self._layout: Final = layout

    async def before(self, partition: int, version: int, count: int) -> dict[str, int]:
        """Cart ids with the v of their oldest change that is not covered, where that is below `version`."""
        key = self._layout.of_partition(partition).pending_compaction
        found = await self._client.execute(
            b"ZRANGEBYSCORE", key, b"-inf", f"({version}", b"WITHSCORES", b"LIMIT", 0, count
        )
        return {member.decode(): int(score) for member, score in found}

    async def skip(self, cart_id: str, version: int) -> None:
        """Skip the changes of the cart up to `v`: only those of its window that are above still wait."""
        keys = self._layout.of_cart(cart_id)
        names = (self._layout.of_partition(keys.partition).pending_compaction, keys.win)
        await self._client.run(scripts.SKIP_PENDING, names, (cart_id, version))

    async def windows(self, cart_ids: Sequence[str]) -> dict[str, list[Operation]]:
        """The entries of the carts' windows in order; none for a cart that is not there."""
        commands = [(b"HGETALL", self._layout.of_cart(cart_id).ops) for cart_id in cart_ids]
        replies = await self._client.execute_all(commands)
        return {
            cart_id: sorted(
                (unpack_entry(entry)[0] for entry in fields.values()), key=lambda op: (op.version, op.op_id)
            )
            for cart_id, fields in zip(cart_ids, replies, strict=True)
        }

    async def in_outbox(self, partition: int) -> set[tuple[int, str]]:
        """The (v, op_id) of everything that waits in the partition's outbox."""
        outbox = self._layout.of_partition(partition).outbox
        waiting: set[tuple[int, str]] = set()
        after: Argument = b"-"
        while page := await self._client.execute(b"XRANGE", outbox, after, b"+", b"COUNT", _PAGE):
            waiting |= {(entry.version, entry.op_id) for entry in map(answers.outbox_entry, page)}
            after = b"(" + page[-1][0]
        return waiting

    async def backlog_us(self, partitions: Iterable[int]) -> dict[int, int]:
        """The age of the oldest outbox entry of each of these partitions."""
        wanted = list(partitions)
        commands: list[tuple[Argument, ...]] = []
        slots: list[int] = []
        for partition in wanted:
            commands += ((b"TIME",), (b"GET", self._layout.of_partition(partition).backlog))
            slots += [self._layout.slot(partition)] * 2
        replies = await self._client.execute_all(commands, slots)
        return {
            partition: answers.outbox_depth(partition, 0, backlog, answers.microseconds(now)).oldest_us
            for partition, now, backlog in zip(wanted, replies[::2], replies[1::2], strict=True)
        }

    async def time_us(self, partition: int) -> int:
        """The clock of the server that has the partition."""
        return answers.microseconds(await self._client.execute(b"TIME", slot=self._layout.slot(partition)))
