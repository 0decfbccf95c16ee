"""Takes the product's guards away, one at a time, and shows what then fails: `python -m tests.faults.guards`.

Each row is a run of the real product with one function replaced (see `mutations/sitecustomize.py`). A guard
that nothing misses makes the exit status 1. Guards that only rarer histories miss: see the model.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import structlog

from tests.faults import checks
from tests.faults.catalogue import price
from tests.faults.history import Add, Record
from tests.faults.load_generator import Load, again
from tests.faults.proxy import NetworkCondition
from tests.faults.purges import FORGETFUL, TWO, purged_and_regained
from tests.faults.run import Plan, run
from tests.faults.scenario import Scenario
from tests.faults.schedule import Fault, Kind
from tests.faults.stores import Stores
from tests.faults.testbed import Testbed
from tests.faults.topology import ALONE, GATEWAYS, Topology

TEA: Final = Add("tea", 2, 350)
QUIET_SECONDS: Final = 8.0
"""Long enough for whole stores to get equal, short enough to wait for broken ones."""


class Scene(NamedTuple):
    """What happened, and what the stores then contained."""

    history: Sequence[Record]
    stores: Stores


async def killed_between_script_and_publish(testbed: Testbed, folder: Path) -> Scene:
    """One add, with Kafka frozen and both gateways killed before it could be published."""
    async with Scenario(testbed, folder) as scenario:
        await testbed.freeze("kafka")
        asking = asyncio.create_task(scenario.send(scenario.plan(TEA)))
        await scenario.until_in_outbox()
        for gateway in GATEWAYS:
            await testbed.kill(gateway)
        await testbed.thaw("kafka")
        await asking
        return await _look(scenario)


async def killed_during_an_outage(testbed: Testbed, folder: Path) -> Scene:
    """One add while Kafka cannot be reached; the gateways are killed before it can."""
    async with Scenario(testbed, folder) as scenario:
        testbed.network.condition = NetworkCondition.CUT
        await scenario.until_ok(scenario.plan(TEA))
        for gateway in GATEWAYS:
            await testbed.kill(gateway)
        testbed.network.condition = NetworkCondition.NORMAL
        return await _look(scenario)


async def retried_on_a_stale_replica(testbed: Testbed, folder: Path) -> Scene:
    """One add, tried again on a replica that does not know it."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(Add("jam", 1, 420))
        replica = await scenario.replica()
        add = scenario.plan(TEA)
        await scenario.until_ok(add)
        # The agent would tell the replica of the first attempt before the second one comes.
        await testbed.freeze("sink-redis")
        await scenario.fail_over(replica)
        await scenario.until_ok(again(add))
        await testbed.thaw("sink-redis")
        return await _look(scenario)


async def failed_over_and_left_alone(testbed: Testbed, folder: Path) -> Scene:
    """One add that the replica does not know, and nobody who asks for the cart afterwards."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(Add("jam", 1, 420))
        replica = await scenario.replica()
        await scenario.do(TEA)
        await _look(scenario)
        await scenario.fail_over(replica)
        return await _look(scenario)


async def wiped_while_compaction_is_frozen(testbed: Testbed, folder: Path) -> Scene:
    """One add that nobody has folded yet when Redis is wiped, and a read."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(Add("jam", 1, 420))
        await _look(scenario)
        await testbed.freeze("compaction")
        await scenario.do(TEA)
        await scenario.wipe()
        await scenario.read()
        await testbed.thaw("compaction")
        return await _look(scenario)


async def ordered_twice(testbed: Testbed, folder: Path) -> Scene:
    """Two orders of a cart in a row, with different keys, of which the second one finds nothing."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(TEA)
        await scenario.order()
        await scenario.run(scenario.plan_checkout())
        return await _look(scenario)


async def ordered_again_with_its_key(testbed: Testbed, folder: Path) -> Scene:
    """One checkout, tried again after more was added."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(TEA)
        checkout = scenario.plan_checkout()
        await scenario.run(checkout)
        await scenario.do(TEA)
        await scenario.run(msgspec.structs.replace(checkout, attempt=2))
        return await _look(scenario)


async def ordered_while_compaction_is_frozen(testbed: Testbed, folder: Path) -> Scene:
    """One order of a cart whose last add has got no further than Kafka."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(Add("jam", 1, 420))
        await _look(scenario)
        await testbed.freeze("compaction")
        await scenario.do(TEA)
        await scenario.run(scenario.plan_checkout())
        await testbed.thaw("compaction")
        return await _look(scenario)


async def bought_and_cancelled(testbed: Testbed, folder: Path) -> Scene:
    """Four orders of pieces that are counted, of which one is cancelled."""
    async with Scenario(testbed, folder) as scenario:
        mug = (await scenario.stock(mug=8))["mug"]
        orders = []
        for _ in range(4):
            await scenario.do(Add(mug, 1, price(mug)))
            orders.append(await scenario.order())
        await scenario.cancel(orders[0].order_id)
        return await _look(scenario)


async def under_load(testbed: Testbed, folder: Path) -> Scene:
    """Eight clients for some hundred operations; nothing breaks."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(seed=-2, seconds=0, load=Load(8, 16), acknowledged=300)
    report = await run(
        testbed, plan, folder, [Fault(0.5, Kind.SLOW, "kafka", 2.0)], quiet_seconds=QUIET_SECONDS
    )
    return Scene(report.history, report.stores)


async def one_gateway_cut_off(testbed: Testbed, folder: Path) -> Scene:
    """Sixteen clients, and a gateway that alone cannot reach Kafka for longer than the publish deadline."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(seed=-6, seconds=0, load=Load(16, 32), acknowledged=100)
    faults = [Fault(0.5, Kind.CUT_ALONE, ALONE, 20.0)]
    report = await run(testbed, plan, folder, faults, quiet_seconds=QUIET_SECONDS)
    return Scene(report.history, report.stores)


async def purged_beside_a_live_cart(testbed: Testbed, folder: Path) -> Scene:
    """One add, a younger cart that is purged, and the partition's worker loses it and gets it back."""
    async with Scenario(testbed, folder) as scenario:
        await scenario.do(TEA)
        await _look(scenario)
        await purged_and_regained(scenario)
        return await _look(scenario)


class Setting(NamedTuple):
    """The testbed that a scene needs: its topology, and settings of groups."""

    topology: Topology = Topology()
    variables: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class Guard(NamedTuple):
    """A guard, what takes it away (parted by commas), from which processes, and the scene that misses it."""

    name: str
    mutation: str
    components: Sequence[str]
    scene: Callable[[Testbed, Path], Awaitable[Scene]]
    setting: Setting = Setting()


GUARDS: Final = (
    Guard("outbox sweeper", "no_sweeper", GATEWAYS, killed_between_script_and_publish),
    Guard("no Kafka, no lease", "a_sick_gateway_keeps_its_leases", (ALONE,), one_gateway_cut_off),
    Guard("removal only after the ack", "removal_before_the_ack", GATEWAYS, killed_during_an_outage),
    Guard("idempotency keys", "keys_are_ignored", GATEWAYS, retried_on_a_stale_replica),
    Guard("If-Match", "conditions_are_ignored", GATEWAYS, under_load),
    Guard("refusals before the script", "refused_after_the_fact", GATEWAYS, under_load),
    Guard("receipts", "receipts_are_off_by_one", GATEWAYS, under_load),
    Guard("versions rise", "the_clock_has_seconds_only", GATEWAYS, under_load),
    Guard("put only if covering", "anything_covers", ("sink-redis",), under_load),
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
    Guard("every change is folded", "the_fold_forgets_some", ("compaction",), under_load),
    Guard("of two attempts one counts", "every_attempt_counts", ("compaction",), retried_on_a_stale_replica),
    Guard("removes remove", "removed_lines_stay", ("compaction",), under_load),
    Guard("carts never falls back", "old_states_are_written_again", ("compaction",), under_load),
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
    Guard("every record is sunk", "some_rows_are_not_written", ("sink-postgres",), under_load),
    # The last one of its testbed: what it leaves in the cache stays wrong.
    Guard("products are followed", "some_products_are_not_followed", ("sink-redis",), bought_and_cancelled),
    Guard(
        "a floor ends with the ownership",
        "what_is_known_of_a_partition_survives_its_ownership",
        TWO.workers_of("compaction"),
        purged_beside_a_live_cart,
        Setting(TWO, FORGETFUL),
    ),
)


async def take_away(testbed: Testbed, guard: Guard, folder: Path) -> list[str]:
    """Plays the guard's scene without it; the names of the checks that fail, and what they say."""
    for component in guard.components:
        await testbed.mutate(component, guard.mutation)
    try:
        scene = await guard.scene(testbed, folder)
    finally:
        for component in guard.components:
            await testbed.mutate(component, None)
    return [
        f"{check.__name__} ({', '.join(sorted({each.what for each in found}))})"
        for check in checks.CHECKS
        if (found := check(scene.history, scene.stores))
    ]


async def take_all_away(guards: Sequence[Guard], folder: Path) -> int:
    """A table of all guards; how many were not missed."""
    unmissed = 0
    _say("| guard | mutation | checks that fail |\n|---|---|---|")
    for number, (setting, some) in enumerate(groupby(guards, lambda guard: guard.setting)):
        async with Testbed(folder / f"testbed-{number}", *setting) as testbed:
            for guard in some:
                failed = await take_away(testbed, guard, folder / guard.mutation)
                unmissed += not failed
                mutations = ", ".join(f"`{name}`" for name in guard.mutation.split(","))
                _say(f"| {guard.name} | {mutations} | {'; '.join(failed) or '**none**'} |")
    return unmissed


async def _look(scenario: Scenario) -> Scene:
    return Scene(scenario.history.records, await scenario.look(QUIET_SECONDS))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.guards", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of mutations; all without one")
    parser.add_argument("--folder", type=Path, help="keep histories, data and logs here")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cartstream-guards-"))
    chosen = [guard for guard in GUARDS if not options.only or {*guard.mutation.split(",")} & {*options.only}]
    sys.exit(1 if asyncio.run(take_all_away(chosen, folder)) else 0)


if __name__ == "__main__":
    main()
