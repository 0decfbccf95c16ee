"""The cart's home in Redis: changes, reads, puts, outbox, restoration."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

import msgspec

from carts.lifetime import Lifetime
from carts.limits import LIMITS, MAX_SAFE_INTEGER, TIMING, Limits, Timing
from carts.operations import Add, Delta, Set
from carts.state import State, Status
from runtime.clock import clock_us
from store.redis import answers, scripts
from store.redis.absence import Absence, Missing
from store.redis.client import PipelinedClient
from store.redis.errors import NotHere, NotPrimary, ServerLeft, StoreError, StoreFull, TryAgain
from store.redis.facts import facts_of
from store.redis.layout import CartKeys, Layout
from store.redis.memory import Memory, fullest, read_memories
from store.redis.packing import pack_absence, pack_copy, step_arguments
from store.redis.partition_store import PartitionStore
from store.redis.requests import ChangeRequest
from store.redis.results import (
    ChangeOutcome,
    CheckoutLock,
    OutboxDepth,
    OutboxEntry,
    OutboxPage,
    Reason,
    Refused,
    Restoring,
    ServerFacts,
    WindowEntry,
)
from store.redis.scripts import Script
from store.redis.stored import StoredCart
from store.redis.subtraction import Decision, RowLookup, Subtractor
from store.redis.wire import Argument, join, pack, pack_arguments

ENDLESS: Final = Lifetime()

_JSON: Final = msgspec.json.Encoder()
_TIME: Final = pack((b"TIME",))
_MSGPACK: Final = msgspec.msgpack.Encoder()
_CHANGE_BEGINS: Final = 3 + 8 + 1 + 1
"""How many words each call of the change script begins with: EVALSHA, keys, the cart's id, and bounds."""


class CartStore(PartitionStore):
    """All that the product does in Redis. Methods raise StoreError (store.redis.errors) when Redis fails."""

    def __init__(
        self,
        client: PipelinedClient,
        layout: Layout,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
        *,
        lifetime: Lifetime = ENDLESS,
        outbox_max_bytes: int = 64 * 1024 * 1024,
        rows: RowLookup | None = None,
    ) -> None:
        """`outbox_max_bytes` is for each partition. By default no copy is too old to count.

        `rows`: where an order or a merge looks for a cart that Redis lacks; whoever does neither needs none.
        """
        super().__init__(client, layout, timing, lifetime)
        self._limits: Final = limits
        self._evalsha_change: Final = pack_arguments(b"EVALSHA", scripts.CHANGE.sha, 8)
        self._evalsha_change_when_full: Final = pack_arguments(b"EVALSHA", scripts.CHANGE_WHEN_FULL.sha, 8)
        self.has_room = True
        """Whether carts may grow, as far as known: whoever looks at the server's memory sets it."""
        self.is_near_bound = True
        """Whether carts may be brought in beyond `maxmemory` to be emptied; set by the same."""
        self.bound_outbox(outbox_max_bytes)
        self._subtractor: Final = Subtractor(client, layout, limits, timing, lifetime, self.hydrate, rows)

    def bound_outbox(self, max_bytes: int) -> None:
        """From now on refuse what would make a partition's outbox larger than this."""
        self._outbox_max_bytes = max_bytes
        self._bounds = lru_cache(self._pack_bounds)

    def _pack_bounds(self, idle_limit_s: int, horizon_us: int) -> bytes:
        """Argument 2 of the change script, which is the same for all carts of users, or of guests."""
        limits = self._limits
        return pack_arguments(
            _MSGPACK.encode(
                (
                    *(self._timing.retry_horizon_us, 2 * self._timing.window_us, idle_limit_s, horizon_us),
                    *(self._outbox_max_bytes, limits.lines, limits.tracked_lines, limits.quantity),
                    *(limits.content_bytes, limits.window_entries, limits.window_bytes),
                    *(limits.ordered_entries, limits.ordered_bytes, MAX_SAFE_INTEGER),
                )
            )
        )

    # Carts

    async def change(self, request: ChangeRequest) -> ChangeOutcome:
        """Apply one operation atomically, all checks before the first write.

        Without room what takes no more memory is still applied: removals, lower quantities, a clear. Anything
        else is Refused(STORAGE_FULL), if it was not applied before.
        """
        if self.has_room:
            try:
                reply = await self._change(scripts.CHANGE, request, is_full=False)
            except StoreFull:
                self.has_room = False
            else:
                return answers.changed(request, self._layout.partition(request.cart_id), reply)
        reply = await self._change(scripts.CHANGE_WHEN_FULL, request, is_full=True)
        outcome = answers.changed(request, self._layout.partition(request.cart_id), reply)
        if (
            isinstance(outcome, Refused)
            and outcome.missing is not None
            and any(isinstance(step, Add | Set) for step in request.steps)
        ):
            # It need not be looked up to be refused: that would bring it in.
            return Refused(reason=Reason.STORAGE_FULL)
        return outcome

    def _change(self, script: Script, request: ChangeRequest, *, is_full: bool) -> Awaitable[Any]:
        keys = self._layout.of_cart(request.cart_id)
        arguments: list[Argument] = [
            request.op_id,
            _operation_head(request),
            _event_tail(request.actor, request.cause),
            request.first_seen_us,
            _conditions(request),
            b""
            if request.absence is None
            else b"%d %b" % (request.forgotten_version, pack_absence(request.absence, self._timing)),
            b"0" if request.minimal else b"1",
            b"1" if request.replay_only else b"2" if is_full else b"0",
            request.traceparent,
        ]
        for step in request.steps:
            arguments += step_arguments(step)
        bounds = self._bounds(*self._times(request.cart_id))
        evalsha = self._evalsha_change_when_full if is_full else self._evalsha_change
        packed = join(
            _CHANGE_BEGINS + len(arguments), evalsha, keys.change, bounds, pack_arguments(*arguments)
        )
        return self._client.call(script, keys.slot, packed)

    async def read(self, cart_id: str) -> StoredCart | Missing | Restoring:
        """The cart as it is now, in one round trip; in two if Redis lacks it.

        The marker names the restoration that made the partition ready. The same one before and after the
        cart, it says that nothing was lost meanwhile. (A transaction would say so too, but a full Redis
        7.0 refuses it.) Raises NotPrimary while the server is known to be a replica: it may be behind.
        """
        keys = self._layout.of_cart(cart_id)
        marker, cart = await self._read(cart_id, keys, keys.read, [])
        if cart is not None:
            return cart
        if marker is None:
            return Restoring()
        # How long this counts is reckoned from a time before the cart was looked for.
        earlier: list[Any] = []
        marker, cart = await self._read(cart_id, keys, _TIME + keys.read, earlier)
        return cart if cart is not None else answers.missing(marker, answers.microseconds(earlier[0]))

    async def _read(
        self, cart_id: str, keys: CartKeys, commands: bytes, earlier: list[Any]
    ) -> tuple[bytes | None, StoredCart | None]:
        """The marker if its restoration was the same before and after, and the cart if one counts."""
        node = self._client.node_of(keys.slot)
        if node.is_replica:
            raise NotPrimary("the server is a replica: what it has may be old")
        try:
            marker_after = await node.submit(commands, earlier, 3 if commands.startswith(_TIME) else 2)
            for reply in earlier:
                if isinstance(reply, StoreError):
                    raise reply
        except (NotHere, ServerLeft, TryAgain):
            # Elsewhere by now, or it moves, the keys one by one: each goes its own way.
            ready = self._layout.of_partition(keys.partition).ready
            one_by_one = ((b"GET", ready), (b"HGETALL", keys.cart), (b"GET", ready))
            earlier[:] = [await self._client.execute(b"TIME", slot=keys.slot)]
            earlier += [await self._client.execute(*command) for command in one_by_one]
            marker_after = earlier.pop()
        marker_before, fields = earlier[-2:]
        if marker_before is None or not _is_of_same_restoration(marker_before, marker_after):
            return None, None
        if not fields:
            return marker_after, None
        cart = StoredCart(cart_id, fields)
        v, now_us = cart.version_number, clock_us()
        # Asked as if it had expired first, which forgets sooner: the status costs more than the rest.
        if self._lifetime.forgotten(cart_id, v, now_us, expired=True) and self._lifetime.forgotten(
            cart_id, v, now_us, expired=cart.status is Status.EXPIRED
        ):
            return marker_after, None
        return marker_after, cart

    async def hydrate(
        self, cart_id: str, state: State, absence: Absence, *, takes_away: bool = False
    ) -> bool:
        """Bring in a cart found elsewhere, even an expired one; whether it was brought in.

        It is not if it is there, if the partition is not ready, or if what was found does not count any more.
        Raises StoreFull; if the next change takes something away only far beyond `maxmemory`.
        """
        keys = self._layout.of_cart(cart_id)
        shared = self._layout.of_partition(keys.partition)
        arguments = (*self._times(cart_id), pack_copy(cart_id, state), pack_absence(absence, self._timing))
        names = (keys.cart, keys.ops, keys.win, shared.ready, shared.events)
        script = scripts.HYDRATE_WHEN_FULL if takes_away and self.is_near_bound else scripts.HYDRATE
        return bool(await self._client.run(script, names, arguments))

    def _times(self, cart_id: str) -> tuple[int, int]:
        return self._lifetime.idle_limit_s(cart_id), self._lifetime.horizon_us(cart_id)

    # Checkout

    async def window(self, cart_id: str) -> list[WindowEntry] | Missing | Restoring:
        """The cart's window, oldest first; of a trimmed cart its floor, see carts.state.window_of."""
        return await self._subtractor.window(cart_id)

    async def subtract(
        self, cart_id: str, order_id: str, delta: Delta, folded: State | None
    ) -> ChangeOutcome:
        """Take what an order bought out of the cart: at once here, and everywhere by the event in the outbox.

        `delta` is carts.ordering.subtraction's, `folded` the newest record of the cart in `carts` (or in
        Postgres) that is known. Asking again does no harm. Refused: RESTORING, NO_RECORD, ROW_UNKNOWN,
        MOVED, OUTBOX_FULL, STORAGE_FULL, WINDOW_FULL; ask again later with the newest record.
        """
        return await self._subtractor.apply(
            cart_id, Decision(order_id, delta), folded, self._outbox_max_bytes
        )

    async def merge(self, cart_id: str, decision: Decision, folded: State | None) -> ChangeOutcome:
        """Do one step of a merge to a guest's or a user's cart, as `subtract` does it for an order.

        A cart without a record is born by it. Asking again does no harm. Refused: as `subtract`.
        """
        return await self._subtractor.apply(cart_id, decision, folded, self._outbox_max_bytes)

    async def lock_checkout(self, cart_id: str, token: str, ttl_ms: int) -> CheckoutLock:
        """Lock the cart's checkout for `token` if it is free; the lock as it is then, ours or another's.

        A courtesy: it keeps two checkouts apart while Redis remembers it. Safety does not rest on it.
        """
        key = self._layout.of_cart(cart_id).checkout_lock
        holder, ttl = await self._client.run(scripts.CHECKOUT_LOCK, (key,), (token, ttl_ms))
        return CheckoutLock(holder.decode(), ttl)

    async def unlock_checkout(self, cart_id: str, token: str) -> bool:
        """Release the lock if `token` holds it; whether it did."""
        key = self._layout.of_cart(cart_id).checkout_lock
        return bool(await self._client.run(scripts.RELEASE, (key,), (token,)))

    async def checkout_lock(self, cart_id: str) -> CheckoutLock | None:
        """The lock on the cart's checkout; None if it is free."""
        key = self._layout.of_cart(cart_id).checkout_lock
        holder, ttl = await self._client.execute_all(((b"GET", key), (b"PTTL", key)))
        return None if holder is None else CheckoutLock(holder.decode(), max(0, ttl))

    # Outbox

    async def outbox_read(
        self, partition: int, after_id: str = "0-0", count: int = 100, min_age_us: int = 0
    ) -> list[OutboxEntry]:
        """Entries after `after_id`, oldest first, that are at least `min_age_us` old by Redis's clock."""
        return (await self.outbox_page(partition, after_id, count, min_age_us)).entries

    async def outbox_page(self, partition: int, after_id: str, count: int, min_age_us: int) -> OutboxPage:
        """The same, with the time of the reading."""
        outbox = self._layout.of_partition(partition).outbox
        now, entries = await self._client.execute_all(
            ((b"TIME",), (b"XRANGE", outbox, f"({after_id}", b"+", b"COUNT", count)),
            repeat(self._layout.slot(partition)),
        )
        read_us = answers.microseconds(now)
        youngest = read_us - min_age_us
        due = [
            answers.outbox_entry(entry) for entry in entries if answers.entry_time_us(entry[0]) <= youngest
        ]
        return OutboxPage(due, read_us)

    async def outbox_remove(self, partition: int, entries: Sequence[tuple[str, str]]) -> int:
        """Remove entries by (id, op_id); one whose op_id differs stays. Returns how many were removed."""
        if not entries:
            return 0
        shared = self._layout.of_partition(partition)
        arguments = [part for entry in sorted(entries) for part in entry]
        return int(await self._client.run(scripts.OUTBOX_REMOVE, (shared.outbox, shared.backlog), arguments))

    async def outbox_depths(self) -> list[OutboxDepth]:
        """The depth of every partition's outbox."""
        depths = await self._outbox_depths()
        for depth in depths:
            if isinstance(depth, StoreError):
                raise depth
        return [depth for depth in depths if isinstance(depth, OutboxDepth)]

    async def known_outbox_depths(self) -> list[OutboxDepth]:
        """The same of those partitions whose server answers. Raises StoreError if none does."""
        depths = await self._outbox_depths()
        found = [depth for depth in depths if isinstance(depth, OutboxDepth)]
        if not found:
            raise next(depth for depth in depths if isinstance(depth, StoreError))
        return found

    async def _outbox_depths(self) -> list[OutboxDepth | StoreError]:
        commands: list[tuple[Argument, ...]] = []
        slots: list[int] = []
        for partition in range(self._layout.partitions):
            shared = self._layout.of_partition(partition)
            commands += ((b"TIME",), (b"XLEN", shared.outbox), (b"GET", shared.backlog))
            slots += [self._layout.slot(partition)] * 3
        replies = await self._client.try_all(commands, slots)
        depths: list[OutboxDepth | StoreError] = []
        for partition in range(self._layout.partitions):
            told = replies[3 * partition : 3 * partition + 3]
            failed = next((reply for reply in told if isinstance(reply, StoreError)), None)
            now, entries, backlog = told
            depths.append(
                failed or answers.outbox_depth(partition, entries, backlog, answers.microseconds(now))
            )
        return depths

    async def acquire_sweeper(self, partition: int, owner: str, ttl_ms: int) -> bool:
        """Take or prolong the lease of the partition's outbox sweeper; whether `owner` holds it now."""
        lease = self._layout.of_partition(partition).sweeper
        return bool(await self._client.run(scripts.LEASE, (lease,), (owner, ttl_ms)))

    async def release_sweeper(self, partition: int, owner: str) -> bool:
        """Give the lease back if `owner` holds it; whether it did."""
        lease = self._layout.of_partition(partition).sweeper
        return bool(await self._client.run(scripts.RELEASE, (lease,), (owner,)))

    # Server

    async def ask_role(self) -> None:
        """Learn which servers are replicas by now, so that reads do not pass for live ones."""
        await self._client.ask_role()

    async def memory(self) -> Memory:
        """How much memory the fullest server uses now."""
        return fullest(await self.memories())

    async def memories(self) -> list[Memory]:
        """How much memory each server uses now, of those that answer."""
        return await read_memories(self._client)

    async def time_us(self, cart_id: str) -> int:
        """The clock of the server that has the cart."""
        now = await self._client.execute(b"TIME", slot=self._layout.of_cart(cart_id).slot)
        return answers.microseconds(now)

    async def facts(self) -> list[ServerFacts]:
        """What each server says about itself, of those that answer. Raises StoreError if none does."""
        return await self._client.of_each(facts_of)

    @property
    def unreachable(self) -> list[str]:
        """The servers that cannot be asked."""
        return self._client.unreachable


def _is_of_same_restoration(before: bytes, after: bytes | None) -> bool:
    return before == after or (after is not None and before.partition(b" ")[0] == after.partition(b" ")[0])


def _conditions(request: ChangeRequest) -> str:
    if request.if_match is None and request.if_none_match is None:
        return ""
    return f"{_tags(request.if_match)}\n{_tags(request.if_none_match)}"


def _tags(tags: tuple[str, ...] | None) -> str:
    if tags is None:
        return ""
    return "*" if tags == ("*",) else f" {' '.join(tags)} "


def _operation_head(request: ChangeRequest) -> bytes:
    op_id = _JSON.encode(request.op_id)
    if not request.fingerprint:
        return b',"op_id":%b,"delta":' % op_id
    return b',"op_id":%b,"fingerprint":"%b","delta":' % (op_id, request.fingerprint.encode())


@lru_cache(maxsize=4096)
def _event_tail(actor: str | None, cause: str | None) -> bytes:
    by = b"" if actor is None else b',"actor":' + _JSON.encode(actor)
    why = b"" if cause is None else b',"cause":' + _JSON.encode(cause)
    return by + why + b"}"
