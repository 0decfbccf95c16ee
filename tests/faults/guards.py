"""Takes the product's guards away, one at a time, and shows what then fails: `python -m tests.faults.guards`.

Each row is a run of the real product with one function replaced (see `sabotage/sitecustomize.py`). A guard
that nothing misses makes the exit status 1. Guards that only rarer histories miss: see the model.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from tests.faults import checks
from tests.faults.catalogue import price
from tests.faults.clients import Load, again
from tests.faults.history import Add, Record
from tests.faults.proxy import Weather
from tests.faults.run import Plan, run
from tests.faults.schedule import Fault, Kind
from tests.faults.shop import Shop
from tests.faults.stand import GATEWAYS, Stand
from tests.faults.stores import Stores

TEA: Final = Add("tea", 2, 350)
QUIET_SECONDS: Final = 8.0
"""Long enough for whole stores to get equal, short enough to wait for broken ones."""


class Scene(NamedTuple):
    """What happened, and what the stores then contained."""

    history: Sequence[Record]
    stores: Stores


async def killed_between_script_and_publish(stand: Stand, folder: Path) -> Scene:
    """One add, with Kafka frozen and both gateways killed before it could be published."""
    async with Shop(stand, folder) as shop:
        await stand.freeze("kafka")
        asking = asyncio.create_task(shop.send(shop.plan(TEA)))
        await shop.until_in_outbox()
        for gateway in GATEWAYS:
            await stand.kill(gateway)
        await stand.thaw("kafka")
        await asking
        return await _look(shop)


async def killed_during_an_outage(stand: Stand, folder: Path) -> Scene:
    """One add while Kafka cannot be reached; the gateways are killed before it can."""
    async with Shop(stand, folder) as shop:
        stand.proxy.weather = Weather.CUT
        await shop.until_ok(shop.plan(TEA))
        for gateway in GATEWAYS:
            await stand.kill(gateway)
        stand.proxy.weather = Weather.FAIR
        return await _look(shop)


async def retried_on_a_stale_replica(stand: Stand, folder: Path) -> Scene:
    """One add, tried again on a replica that does not know it."""
    async with Shop(stand, folder) as shop:
        await shop.do(Add("jam", 1, 420))
        replica = await shop.replica()
        add = shop.plan(TEA)
        await shop.until_ok(add)
        # The agent would tell the replica of the first attempt before the second one comes.
        await stand.freeze("sink-redis")
        await shop.fail_over(replica)
        await shop.until_ok(again(add))
        await stand.thaw("sink-redis")
        return await _look(shop)


async def failed_over_and_left_alone(stand: Stand, folder: Path) -> Scene:
    """One add that the replica does not know, and nobody who asks for the cart afterwards."""
    async with Shop(stand, folder) as shop:
        await shop.do(Add("jam", 1, 420))
        replica = await shop.replica()
        await shop.do(TEA)
        await _look(shop)
        await shop.fail_over(replica)
        return await _look(shop)


async def wiped_while_compaction_is_frozen(stand: Stand, folder: Path) -> Scene:
    """One add that nobody has folded yet when Redis is wiped, and a read."""
    async with Shop(stand, folder) as shop:
        await shop.do(Add("jam", 1, 420))
        await _look(shop)
        await stand.freeze("compaction")
        await shop.do(TEA)
        await shop.wipe()
        await shop.read()
        await stand.thaw("compaction")
        return await _look(shop)


async def ordered_twice(stand: Stand, folder: Path) -> Scene:
    """Two orders of a cart in a row, with different keys, of which the second one finds nothing."""
    async with Shop(stand, folder) as shop:
        await shop.do(TEA)
        await shop.order()
        await shop.run(shop.plan_checkout())
        return await _look(shop)


async def ordered_again_with_its_key(stand: Stand, folder: Path) -> Scene:
    """One checkout, tried again after more was added."""
    async with Shop(stand, folder) as shop:
        await shop.do(TEA)
        checkout = shop.plan_checkout()
        await shop.run(checkout)
        await shop.do(TEA)
        await shop.run(msgspec.structs.replace(checkout, attempt=2))
        return await _look(shop)


async def ordered_while_compaction_is_frozen(stand: Stand, folder: Path) -> Scene:
    """One order of a cart whose last add has got no further than Kafka."""
    async with Shop(stand, folder) as shop:
        await shop.do(Add("jam", 1, 420))
        await _look(shop)
        await stand.freeze("compaction")
        await shop.do(TEA)
        await shop.run(shop.plan_checkout())
        await stand.thaw("compaction")
        return await _look(shop)


async def bought_and_cancelled(stand: Stand, folder: Path) -> Scene:
    """Four orders of pieces that are counted, of which one is cancelled."""
    async with Shop(stand, folder) as shop:
        mug = (await shop.stock(mug=8))["mug"]
        orders = []
        for _ in range(4):
            await shop.do(Add(mug, 1, price(mug)))
            orders.append(await shop.order())
        await shop.cancel(orders[0].order_id)
        return await _look(shop)


async def crowd(stand: Stand, folder: Path) -> Scene:
    """Eight clients for some hundred operations; nothing breaks."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(seed=-2, seconds=0, load=Load(8, 16), acknowledged=300)
    report = await run(
        stand, plan, folder, [Fault(0.5, Kind.SLOW, "kafka", 2.0)], quiet_seconds=QUIET_SECONDS
    )
    return Scene(report.history, report.stores)


class Guard(NamedTuple):
    """A guard, what takes it away (parted by commas), from which processes, and the scene that misses it."""

    name: str
    sabotage: str
    components: Sequence[str]
    scene: Callable[[Stand, Path], Awaitable[Scene]]


GUARDS: Final = (
    Guard("outbox sweeper", "no_sweeper", GATEWAYS, killed_between_script_and_publish),
    Guard("removal only after the ack", "removal_before_the_ack", GATEWAYS, killed_during_an_outage),
    Guard("idempotency keys", "keys_are_ignored", GATEWAYS, retried_on_a_stale_replica),
    Guard("If-Match", "conditions_are_ignored", GATEWAYS, crowd),
    Guard("refusals before the script", "refused_after_the_fact", GATEWAYS, crowd),
    Guard("receipts", "receipts_are_off_by_one", GATEWAYS, crowd),
    Guard("versions rise", "the_clock_has_seconds_only", GATEWAYS, crowd),
    Guard("put only if covering", "anything_covers", ("sink-redis",), crowd),
    Guard(
        "follow position in Redis",
        "following_goes_on_at_the_end",
        ("sink-redis",),
        failed_over_and_left_alone,
    ),
    Guard(
        "restore folds what compaction has not",
        "a_restoration_leaves_out_what_is_not_folded",
        ("sink-redis",),
        wiped_while_compaction_is_frozen,
    ),
    Guard("every change is folded", "the_fold_forgets_some", ("compaction",), crowd),
    Guard("of two attempts one counts", "every_attempt_counts", ("compaction",), retried_on_a_stale_replica),
    Guard("removes remove", "removed_lines_stay", ("compaction",), crowd),
    Guard("carts never falls back", "old_states_are_written_again", ("compaction",), crowd),
    Guard(
        "settlement",
        "checkouts_end_with_the_order,nobody_settles",
        (*GATEWAYS, "jobs"),
        bought_and_cancelled,
    ),
    Guard(
        "an order knows the one before it",
        "checkouts_end_with_the_order,any_cart_may_be_ordered",
        GATEWAYS,
        ordered_twice,
    ),
    Guard("one subtraction for each order", "orders_are_taken_out_twice", GATEWAYS, ordered_twice),
    Guard(
        "a snapshot has what Redis has", "any_row_is_a_snapshot", GATEWAYS, ordered_while_compaction_is_frozen
    ),
    Guard("one order for each key", "keys_of_checkouts_are_ignored", GATEWAYS, ordered_again_with_its_key),
    Guard("pieces are reserved", "pieces_are_sold_and_not_taken", GATEWAYS, bought_and_cancelled),
    Guard("pieces are given back", "cancelled_pieces_are_gone", GATEWAYS, bought_and_cancelled),
    Guard("the outbox is sent", "the_relay_forgets_some", ("jobs",), bought_and_cancelled),
    Guard("orders are mailed", "cancellations_are_not_mailed", ("sink-mail",), bought_and_cancelled),
    Guard("every record is sunk", "some_rows_are_not_written", ("sink-postgres",), crowd),
    # The last one: what it leaves in the cache stays wrong.
    Guard("products are followed", "some_products_are_not_followed", ("sink-redis",), bought_and_cancelled),
)


async def take_away(stand: Stand, guard: Guard, folder: Path) -> list[str]:
    """Plays the guard's scene without it; the names of the checks that fail, and what they say."""
    for component in guard.components:
        await stand.sabotage(component, guard.sabotage)
    try:
        scene = await guard.scene(stand, folder)
    finally:
        for component in guard.components:
            await stand.sabotage(component, None)
    return [
        f"{check.__name__} ({', '.join(sorted({each.what for each in found}))})"
        for check in checks.CHECKS
        if (found := check(scene.history, scene.stores))
    ]


async def take_all_away(guards: Sequence[Guard], folder: Path) -> int:
    """A table of all guards; how many were not missed."""
    unmissed = 0
    async with Stand(folder / "stand") as stand:
        _say("| guard | taken away by | checks that fail |\n|---|---|---|")
        for guard in guards:
            failed = await take_away(stand, guard, folder / guard.sabotage)
            unmissed += not failed
            sabotages = ", ".join(f"`{name}`" for name in guard.sabotage.split(","))
            _say(f"| {guard.name} | {sabotages} | {'; '.join(failed) or '**none**'} |")
    return unmissed


async def _look(shop: Shop) -> Scene:
    return Scene(shop.history.records, await shop.look(QUIET_SECONDS))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.guards", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of sabotages; all without one")
    parser.add_argument("--folder", type=Path, help="keep histories, data and logs here")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cartstream-guards-"))
    chosen = [guard for guard in GUARDS if not options.only or {*guard.sabotage.split(",")} & {*options.only}]
    sys.exit(1 if asyncio.run(take_all_away(chosen, folder)) else 0)


if __name__ == "__main__":
    main()
