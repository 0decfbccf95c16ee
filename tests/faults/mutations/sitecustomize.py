"""Breaks the product by replacing one function, in processes that `tests.faults.guards` starts.

Python imports a module of this name before anything else. CARTSTREAM_TEST_MUTATION names the functions below,
parted by commas, that make the replacements out of the originals; the product knows nothing of it.
"""

import hashlib
import importlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

Replacement = Callable[[Any], Any]

MUTATIONS: Final[dict[str, Callable[[], None]]] = {}
TARGETS: Final[dict[str, tuple[str, str]]] = {}
"""By mutation, the module and what in it is replaced."""


def replaces(module: str, path: str) -> Callable[[Replacement], Replacement]:
    """Registers a function that makes what shall be at `path` in `module` out of what stands there."""

    def register(make: Replacement) -> Replacement:
        def carry_out() -> None:
            owner: Any = importlib.import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, name, make(getattr(owner, name)))

        MUTATIONS[make.__name__] = carry_out
        TARGETS[make.__name__] = module, path
        return make

    return register


@replaces("gateway.outbox.sweeper", "Sweeper._sweep")
def no_sweeper(_: Any) -> Any:
    """What stayed in the outboxes stays there."""

    async def nothing(_: Any) -> None:
        return

    return nothing


@replaces("gateway.outbox.sweeper", "Sweeper._sweep")
def a_sick_gateway_keeps_its_leases(sweep: Any) -> Any:
    """All leases are taken and prolonged, and never given back, whether anything can be published or not."""

    async def nothing(*_: Any) -> None:
        return

    async def hog(self: Any) -> None:
        self._give_back = nothing
        for depth in await self._store.outbox_depths():
            await self._take(depth.partition)
        await sweep(self)

    return hog


@replaces("gateway.outbox.publisher", "ChangePublisher.publish")
def removal_before_the_ack(publish: Any) -> Any:
    """An outbox entry goes as soon as its record is handed over for publishing."""

    def eager(self: Any, partition: int, record: Any) -> Any:
        self._on_ack(partition, record.outbox_id, record.op_id)
        return publish(self, partition, record)

    return eager


@replaces("gateway.carts.requests", "parse_idempotency_key")
def keys_are_ignored(_: Any) -> Any:
    """Every attempt is an operation of its own."""
    return lambda _: os.urandom(16).hex()


@replaces("gateway.http.requests", "parse_if_match")
def conditions_are_ignored(_: Any) -> Any:
    """If-Match always matches."""
    return lambda _: None


@replaces("gateway.carts.service", "CartService.change")
def refused_after_the_fact(change: Any) -> Any:
    """Some requests are refused although they were carried out."""
    problems = importlib.import_module("gateway.http.problems")

    async def fickle(self: Any, command: Any) -> Any:
        changed = await change(self, command)
        if command.op_id.endswith("7"):
            raise problems.Problem(problems.LIMIT_EXCEEDED, "It has been done all the same.")
        return changed

    return fickle


@replaces("gateway.carts.service", "CartService._secure")
def receipts_are_off_by_one(secure: Any) -> Any:
    """A receipt names the offset after the record's."""

    async def off(self: Any, *args: Any) -> Any:
        reached, offset = await secure(self, *args)
        return reached, None if offset is None else offset + 1

    return off


@replaces("store.redis.scripts", "CHANGE")
def the_clock_has_seconds_only(script: Any) -> Any:
    """The script makes versions of whole seconds and forgets to rise above the last."""
    rises = "2 * math.max(math.floor(prev / 2) + 1, now)"
    return _edited(script, rises, "2000000 * math.floor(now / 1000000)")


@replaces("store.redis.scripts", "PUT")
def anything_covers(script: Any) -> Any:
    """A put replaces Redis's copy whatever it knows that the state does not."""
    return _edited(script, "if #missing > 0 then return missing end", "")


@replaces("sinks.redis.follower", "PartitionFollower._position")
def following_goes_on_at_the_end(position: Any) -> Any:
    """The agent goes on at the end of `carts`, wherever Redis has been put back to."""

    async def end(self: Any, marker: Any) -> int | None:
        if await position(self, marker) is None:
            return None
        last = int((await self._consumer.end_offsets([self._source]))[self._source])
        key = self._layout.of_partition(self.partition).followed
        await self._store._client.execute("SET", key, last)  # noqa: SLF001  a mutation asks nobody
        return last

    return end


@replaces("sinks.redis.restore", "Scan.changed_carts")
def a_restoration_leaves_out_what_is_not_folded(_: Any) -> Any:
    """The carts that compaction is behind with are not brought back."""

    def nothing(_: Any) -> Iterator[Any]:
        return iter(())

    return nothing


@replaces("streams.decisions", "fold")
def the_fold_forgets_some(fold: Any) -> Any:
    """Changes of some keys change nothing."""
    folding = importlib.import_module("carts.fold")

    def careless(state: Any, change: Any, **rest: Any) -> Any:
        if state is not None and change.op_id.endswith("7"):
            return folding.Outcome(state, folding.Verdict.KNOWN)
        return fold(state, change, **rest)

    return careless


@replaces("streams.decisions", "fold")
def the_fold_overlooks_some_once(fold: Any) -> Any:
    """Changes of some keys change nothing when they are first seen."""
    folding = importlib.import_module("carts.fold")
    seen: set[str] = set()

    def careless(state: Any, change: Any, **rest: Any) -> Any:
        if state is not None and change.op_id.endswith("7") and change.op_id not in seen:
            seen.add(change.op_id)
            return folding.Outcome(state, folding.Verdict.KNOWN)
        return fold(state, change, **rest)

    return careless


@replaces("carts.fold", "_voids")
def an_expiry_is_never_void(_: Any) -> Any:
    """A write that did not know of an expiry does not take it back."""
    return lambda *_: []


@replaces("carts.fold", "_expire")
def an_expiry_sees_what_it_likes(expire: Any) -> Any:
    """An expiry counts whatever version of the cart it was meant for."""
    replace = importlib.import_module("msgspec").structs.replace

    def careless(state: Any, step: Any) -> Any:
        return expire(
            state,
            step
            if state is None
            else replace(step, seen=state.version_number, seen_operation_count=state.operation_count),
        )

    return careless


@replaces("carts.lifetime", "Lifetime.forgotten")
def old_copies_count(_: Any) -> Any:
    """A row whose cart may have been deleted is brought in."""
    return lambda *_, **__: False


@replaces("streams.purge_floors", "PurgeFloors.lift")
def the_purge_floor_goes_astray(_: Any) -> Any:
    """The highest version ever deleted is neither remembered nor written."""

    async def forget(*_: Any) -> None:
        """Nothing."""

    return forget


@replaces("streams.recovery", "Recovery.opened")
def what_is_known_of_a_partition_survives_its_ownership(_: Any) -> Any:
    """A partition that comes back is read with the purge floor it had when it went."""

    def nothing(*_: Any, **__: Any) -> None:
        """Nothing."""

    return nothing


@replaces("sinks.redis.anti_entropy", "AntiEntropy._look")
def nobody_looks_for_what_was_lost(_: Any) -> Any:
    """Anti-entropy never looks."""

    async def nothing(_: Any) -> None:
        return

    return nothing


@replaces("sinks.redis.anti_entropy", "AntiEntropy._caught_up")
def what_is_late_counts_as_lost(_: Any) -> Any:
    """Anti-entropy does not ask how far compaction is."""

    async def at_once(*_: Any) -> bool:
        return True

    return at_once


@replaces("store.redis.scripts", "PUT")
def puts_keep_no_account(script: Any) -> Any:
    """A put that does not cover the copy takes the cart off the account of what is not folded."""
    return _edited(
        script,
        "redis.call('ZADD', KEYS[4], 'XX', result[1], copy[1])",
        "redis.call('ZREM', KEYS[4], copy[1])",
    )


@replaces("carts.state", "effective")
def every_attempt_counts(_: Any) -> Any:
    """An operation that was born twice is applied twice."""
    return list


@replaces("carts.content", "_Draft._remove")
def removed_lines_stay(_: Any) -> Any:
    """A remove removes nothing from the lines that consumers see."""
    return lambda *_: None


@replaces("streams.compaction", "fold_run")
def old_states_are_written_again(fold_run: Any) -> Any:
    """Compaction emits now and then the state that it had before, as a worker does that was frozen."""
    replace = importlib.import_module("msgspec").structs.replace

    def stale(records: Any, partition: int, purge_floor: int, lookup: Any, rules: Any) -> Any:
        folded = yield from fold_run(records, partition, purge_floor, lookup, rules)
        for emission in list(folded.emissions):
            held = lookup(emission.key)
            if held is not None and os.urandom(1)[0] <= 32:
                folded.emissions.append(replace(emission, value=held))
        return folded

    return stale


@replaces("sinks.postgres.app", "newest")
def some_rows_are_not_written(newest: Any) -> Any:
    """The Postgres sink overlooks some carts."""

    def careless(changes: Any) -> Any:
        return newest(each for each in changes if each is None or not re.search("[37]$", each.cart_id))

    return careless


@replaces("gateway.checkout.service", "CheckoutCarts.subtract")
def checkouts_end_with_the_order(_: Any) -> Any:
    """Every checkout dies as soon as its order stands."""

    async def nothing(*_: Any) -> None:
        return

    return nothing


@replaces("jobs.settlement", "Settlement.round")
def nobody_settles(_: Any) -> Any:
    """What checkouts have left behind stays so."""

    async def nothing(*_: Any) -> None:
        return

    return nothing


@replaces("gateway.checkout.service", "may_follow")
def any_cart_may_be_ordered(_: Any) -> Any:
    """A cart may be ordered that does not know its last order yet."""
    return lambda *_: True


@replaces("gateway.checkout.service", "CheckoutCarts._subtract")
def orders_are_taken_out_twice(subtract: Any) -> Any:
    """An order leaves its cart under two names."""

    async def twice(self: Any, order: Any, folded: Any) -> Any:
        answer = await subtract(self, order, folded)
        cart_id, order_id = order.record.cart_id, order.record.order_id
        await self._store.subtract(cart_id, f"{order_id}-again", order.subtraction, folded)
        return answer

    return twice


@replaces("gateway.checkout.delivery", "_missing")
def any_row_is_a_snapshot(_: Any) -> Any:
    """A cart is ordered as its row is, whatever Redis has beyond it."""
    return lambda *_: []


@replaces("gateway.checkout.routes", "parse_idempotency_key")
def keys_of_checkouts_are_ignored(_: Any) -> Any:
    """Every attempt at a checkout is one of its own."""
    return lambda _: os.urandom(16).hex()


@replaces("store.postgres.products", "reserve")
def pieces_are_sold_and_not_taken(_: Any) -> Any:
    """Orders leave the stock as it is."""
    owner = importlib.import_module("store.postgres.products")

    async def generous(connection: Any, quantities: Any) -> Any:
        return owner.Reserved(await owner.lock(connection, list(quantities)), frozenset(quantities))

    return generous


@replaces("store.postgres.products", "give_back")
def cancelled_pieces_are_gone(_: Any) -> Any:
    """The pieces of a cancelled order are nowhere."""

    async def nothing(*_: Any) -> list[Any]:
        return []

    return nothing


@replaces("jobs.outbox_relay", "_send")
def the_relay_forgets_some(send: Any) -> Any:
    """Every third record of an order is taken for sent."""
    outcome = importlib.import_module("jobs.outbox_relay").RelayOutcome

    async def careless(sender: Any, rows: Any) -> Any:
        lost = [row for row in rows if row.record.topic == "orders" and row.outbox_id % 3 == 0]
        rest = [row for row in rows if row not in lost]
        outcomes, failure = await send(sender, rest) if rest else ({}, None)
        return {**outcomes, **dict.fromkeys((row.outbox_id for row in lost), outcome.ACKNOWLEDGED)}, failure

    return careless


@replaces("store.redis.catalogue.cache", "ProductCache.put")
def some_products_are_not_followed(put: Any) -> Any:
    """The cache overlooks products of which an odd number is left."""

    async def careless(self: Any, *args: Any, **rest: Any) -> Any:
        *place, products = args
        even = [one for one in products if not (getattr(one, "stock", 0) or 0) % 2]
        return await put(self, *place, even, **rest)

    return careless


@replaces("sinks.mail.app", "kind_of")
def cancellations_are_not_mailed(kind_of: Any) -> Any:
    """Whoever cancels hears nothing of it."""
    return lambda order: None if order.version > 1 else kind_of(order)


def _edited(script: Any, old: str, new: str) -> Any:
    source = script.source.replace(old.encode(), new.encode())
    if source == script.source:
        raise SystemExit(f"the script {script.name} has no {old!r} any more: mend the mutation")
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return type(script)(script.name, source, sha)


if chosen := os.environ.get("CARTSTREAM_TEST_MUTATION"):
    for name in chosen.split(","):
        MUTATIONS[name]()
