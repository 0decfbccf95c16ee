"""One run: clients write, the schedule breaks things, all gets quiet, the checks look."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiokafka.errors
import psycopg
import structlog

from store.redis import StoreError
from tests.faults import order_records
from tests.faults.assignments import Assignments
from tests.faults.buyers import Pick
from tests.faults.catalogue import stock
from tests.faults.checks import CONVERGING, violations
from tests.faults.collect import Collector
from tests.faults.erasures import certified
from tests.faults.faults import Breaker
from tests.faults.history import (
    Command,
    Detail,
    History,
    Operation,
    Outage,
    Outcome,
    Record,
    Save,
    faults_told,
    outages,
    writes,
)
from tests.faults.load_generator import Load, LoadGenerator, anyone
from tests.faults.logins import Logins
from tests.faults.recovery import not_recovered
from tests.faults.request_history import checkouts
from tests.faults.schedule import Fault
from tests.faults.stores import Stores, Violation
from tests.faults.testbed import Testbed
from tests.faults.topology import Topology
from topics.records import OrderStatus

log = structlog.get_logger(__name__)

QUIET_SECONDS: Final = 120.0
"""How long what is in flight may take to land after the last fault."""
ENOUGH_SECONDS: Final = 180.0
"""How long clients may go on after the last fault to have enough acknowledged."""
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Plan:
    """What to do: everything that happens follows from it, as far as a machine's timing lets it."""

    seed: int
    seconds: float
    load: Load
    topology: Topology = field(default_factory=Topology)
    acknowledged: int = 0
    """Clients go on after the last fault until this many operations are acknowledged."""

    def command(self) -> str:
        """The line that does this again."""
        return (
            f"python -m tests.faults.soak --seed {self.seed} --seconds {self.seconds:g} "
            f"--workers {self.topology.workers} --partitions {self.topology.partitions} "
            f"--clients {self.load.clients} --carts {self.load.carts} --pause {self.load.pause_seconds:g}"
        )


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    plan: Plan
    outcomes: dict[Outcome, int]
    checkouts: dict[order_records.Outcome, int]
    outages: list[Outage]
    merges: int
    """Guests' carts that were merged."""
    guests_failed: dict[str, int]
    """Requests of the guests who log in that failed: they are in no history."""
    erasures: int
    """Those that were certified."""
    saved: int
    """Acknowledged operations about what is saved for later."""
    details: int
    """And about details of the cart."""
    moves: dict[str, int]
    """By consumer group, how often a partition came to another worker."""
    violations: list[Violation]
    quiet_after: float
    """Seconds from the last operation until the stores were equal."""
    history: list[Record]
    stores: Stores

    @property
    def cancelled(self) -> int:
        """Orders that have been cancelled."""
        orders = self.stores.sales.orders
        return sum(1 for order in orders if order.record.status is OrderStatus.CANCELLED)

    @property
    def mails(self) -> int:
        """Mails that have come about the orders."""
        sales = self.stores.sales
        orders = [order.order_id for order in sales.orders]
        return sum(sales.confirmations.get(each, 0) + sales.cancellations.get(each, 0) for each in orders)

    def explain(self) -> str:
        """What is wrong, what was broken when, and the one line that does it again."""
        shown = "\n".join(f"  {violation}" for violation in self.violations[:20])
        more = len(self.violations) - 20
        rest = f"\n  and {more} more" if more > 0 else ""
        broken = "".join(f"\n  {fault}" for fault in faults_told(self.history))
        return f"{shown}{rest}\nfaults:{broken}\nreproduce with: {self.plan.command()}"


async def run(
    testbed: Testbed,
    plan: Plan,
    folder: Path,
    faults: Iterable[Fault],
    *,
    quiet_seconds: float = QUIET_SECONDS,
    pick: Pick = anyone,
    last: Fault | None = None,
) -> Report:
    """Carries out the plan; leaves the history in `folder`. Raises TestbedBroken if something stays so.

    `last` is done when enough has been acknowledged; nobody writes after it.
    """
    writing = asyncio.Event()
    writing.set()
    path = folder / f"history-{plan.seed}.jsonl"
    with History(path) as history:
        generator = LoadGenerator(testbed.gateways, history, plan.seed, plan.load, writing, pick)
        logins = Logins(testbed.gateways, plan.seed, writing, pick)
        breaker = Breaker(testbed, history, writing)
        async with Collector(testbed) as collector, Assignments(testbed.urls.kafka_bootstrap) as assignments:
            await stock(testbed.gateways[0], history, generator.counted.pieces())
            clients = asyncio.gather(generator.run(), logins.run())
            try:
                await breaker.play(faults)
                await _until_enough(history, plan)
                if last is not None:
                    await breaker.play([last])
            finally:
                generator.stop()
                logins.stop()
                await clients
            ended = time.monotonic()
            await testbed.wait_all_ready()
            sick = await not_recovered(testbed, history, generator.cart_ids, generator.spare_ids)
            sick += await logins.violations()
            cart_ids = [*generator.cart_ids, *generator.spare_ids]
            stores = await quiet(collector, cart_ids, history, quiet_seconds)
            quiet_after = time.monotonic() - ended
        sick += await testbed_differs(testbed)
    operations = writes(history.records)
    return Report(
        plan,
        {outcome: sum(1 for each in operations if each.outcome is outcome) for outcome in Outcome},
        {
            outcome: sum(1 for each in checkouts(history.records) if each.outcome is outcome)
            for outcome in order_records.Outcome
        },
        outages(history.records),
        logins.merges,
        dict(logins.failed),
        certified(history.records),
        acknowledged(operations, Save),
        acknowledged(operations, Detail),
        dict(assignments.moves),
        sick + violations(history.records, stores),
        quiet_after,
        history.records,
        stores,
    )


async def testbed_differs(testbed: Testbed) -> list[Violation]:
    """What `cartstream verify` says of all carts that there are; nothing if they are equal."""
    code, output = await testbed.command("verify")
    return [] if code == 0 else [Violation("verify differs", "-", output[-500:])]


def acknowledged(operations: Iterable[Operation], kind: type[Command]) -> int:
    """How many operations with a command of this kind are in Kafka."""
    return sum(
        each.outcome is Outcome.ACKNOWLEDGED and any(isinstance(command, kind) for command in each.commands)
        for each in operations
    )


async def quiet(
    collector: Collector, cart_ids: list[str], history: History, seconds: float = QUIET_SECONDS
) -> Stores:
    """The stores once all that is in flight has landed; as they are after `seconds` if it never does."""
    written = {operation.cart_id for operation in writes(history.records)} & set(cart_ids)
    end = time.monotonic() + seconds
    while True:
        try:
            stores = await collector.collect(written)
        except (StoreError, psycopg.Error, aiokafka.errors.KafkaError) as error:
            if time.monotonic() > end:
                raise
            log.info("quiet.waiting", reason=repr(error))
        else:
            left = violations(history.records, stores, CONVERGING)
            if not left or time.monotonic() > end:
                return stores
            log.debug("quiet.waiting", left=len(left))
        await asyncio.sleep(_POLL_SECONDS)


async def _until_enough(history: History, plan: Plan) -> None:
    end = time.monotonic() + ENOUGH_SECONDS
    while time.monotonic() < end:
        done = sum(1 for each in writes(history.records) if each.outcome is Outcome.ACKNOWLEDGED)
        if done >= plan.acknowledged:
            return
        await asyncio.sleep(1.0)
