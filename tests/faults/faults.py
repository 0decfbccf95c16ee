"""Breaks the testbed as a schedule says, mends it, and writes both into the history."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import structlog

from runtime.health import Health
from tests.faults.caller import TIMEOUT
from tests.faults.history import Began, Ended, Forgets, History, now_us
from tests.faults.proxy import NetworkCondition
from tests.faults.schedule import ONE_ALONE, Fault, Kind
from tests.faults.testbed import Testbed
from tests.support.waiting import until
from topics.registry import CART_CHANGED

log = structlog.get_logger(__name__)

FORGETS: Final = {
    Kind.FLUSH: Forgets.EVERYTHING,
    Kind.STALE_QUIET: Forgets.NEWEST,
    Kind.STALE_WRITTEN: Forgets.NEWEST,
    Kind.OLD_BACKUP: Forgets.NEWEST,
    # Replicas are a moment behind.
    Kind.PRIMARY_KILLED: Forgets.NEWEST,
    Kind.FAILOVER_BY_HAND: Forgets.NEWEST,
}
NETWORKS: Final = {
    Kind.CUT: NetworkCondition.CUT,
    Kind.SLOW: NetworkCondition.SLOW,
    Kind.HALF_OPEN: NetworkCondition.HALF_OPEN,
    Kind.RESETS: NetworkCondition.RESETTING,
    Kind.CUT_ALONE: NetworkCondition.CUT,
    Kind.HALF_OPEN_ALONE: NetworkCondition.HALF_OPEN,
}
CLOCKS: Final = {Kind.CLOCK_AHEAD: 30.0, Kind.CLOCK_BEHIND: -30.0}
"""By how many seconds a clock is ahead: more than a broker forgives."""
REPLICAS: Final = (Kind.PRIMARY_KILLED, Kind.FAILOVER_BY_HAND, Kind.SLOT_MOVED)
"""What happens to Redis where it is several servers."""
QUIET_SECONDS: Final = 3.0
"""How long nobody writes after a quiet failover: the follow position in Redis must bring back the rest."""


@contextmanager
def recorded(history: History, kind: Kind, target: str) -> Iterator[None]:
    """Writes begin and end of a fault into the history."""
    forgets = FORGETS.get(kind, Forgets.NOTHING)
    history.write(Began(at=now_us(), fault=kind, target=target, forgets=forgets))
    yield
    history.write(Ended(at=now_us(), fault=kind, target=target))


class Breaker:
    """Carries out faults. `writing` is cleared while nobody shall write."""

    def __init__(self, testbed: Testbed, history: History, writing: asyncio.Event) -> None:
        self._testbed = testbed
        self._history = history
        self._writing = writing
        self._backup: Path | None = None

    async def play(self, faults: Iterable[Fault]) -> None:
        """Breaks and mends, one fault after the other, each at its time from now."""
        began = asyncio.get_running_loop().time()
        for fault in faults:
            await asyncio.sleep(began + fault.at - asyncio.get_running_loop().time())
            if self._backup is None and self._testbed.replicated is None:
                # Of the time of the first fault: by the time it is put back it is old.
                self._backup = await self._testbed.backup_of_redis()
            await self._play_one(fault)

    async def _play_one(self, fault: Fault) -> None:
        """Breaks and mends now. Raises TestbedBroken if something does not come back."""
        copy = await self._older_copy(fault)
        log.info("fault.began", fault=fault.kind.value, target=fault.target, seconds=fault.seconds)
        with recorded(self._history, fault.kind, fault.target):
            if fault.kind in NETWORKS:
                await self._break_network(fault)
            elif fault.kind in CLOCKS:
                await self._set_clock_wrong(fault)
            elif fault.kind in REPLICAS:
                await self._change_replicas(fault)
            elif fault.target == "redis" and fault.kind in FORGETS:
                await self._lose_memory(fault, copy)
            else:
                await self._hurt(fault)
        if not self._writing.is_set():
            await asyncio.sleep(QUIET_SECONDS)
            self._writing.set()

    async def _break_network(self, fault: Fault) -> None:
        network = self._testbed.alone if fault.kind in ONE_ALONE else self._testbed.networks[fault.target]
        network.condition = NETWORKS[fault.kind]
        await asyncio.sleep(fault.seconds)
        network.condition = NetworkCondition.NORMAL

    async def _set_clock_wrong(self, fault: Fault) -> None:
        await self._testbed.set_clock(fault.target, CLOCKS[fault.kind])
        await asyncio.sleep(fault.seconds)
        await self._testbed.set_clock(fault.target, None)
        await self._testbed.wait_ready(fault.target)

    async def _change_replicas(self, fault: Fault) -> None:
        """Over once all servers agree, and each gateway has all that it needs of them."""
        servers = self._testbed.replicated
        assert servers is not None
        change = {
            Kind.PRIMARY_KILLED: servers.lose_primary,
            Kind.FAILOVER_BY_HAND: servers.fail_over,
            Kind.SLOT_MOVED: servers.move_slot,
        }[fault.kind]
        await asyncio.to_thread(change)
        await until(self._is_reached, "every gateway reaches all servers of Redis")

    async def _is_reached(self) -> bool:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            for gateway in self._testbed.gateways:
                try:
                    async with session.get(f"{gateway}/health/ready") as response:
                        found = await response.json()
                except (aiohttp.ClientError, TimeoutError):
                    return False
                if found["checks"]["redis"]["status"] != Health.OK:
                    return False
        return True

    async def _lose_memory(self, fault: Fault, copy: Path | None) -> None:
        if fault.kind is Kind.FLUSH:
            await self._testbed.flush_redis()
            return
        if fault.kind is Kind.STALE_QUIET:
            self._writing.clear()
        older = copy or self._backup
        assert older is not None
        await self._testbed.roll_back_redis(older)

    async def _hurt(self, fault: Fault) -> None:
        """What signals can do to a process, and to a group of them."""
        target = fault.target
        match fault.kind:
            case Kind.KILL:
                await self._testbed.kill(target)
                await self._testbed.wait_ready(target)
            case Kind.RESTART:
                await self._testbed.restart(target)
            case Kind.NEWER | Kind.OLDER:
                older = self._testbed.older_code if fault.kind is Kind.OLDER else None
                await self._testbed.run_code(target, older)
            case Kind.LEAVE:
                await self._testbed.leave(target)
                await asyncio.sleep(fault.seconds)
                await self._testbed.join(target)
            case Kind.BEYOND:
                await self._testbed.commit_past_the_end(target)
            case Kind.BROKER_DEAD | Kind.BROKER_EMPTY:
                await self._lose_leader(fault)
            case _:
                await self._testbed.freeze(target)
                await asyncio.sleep(fault.seconds)
                await self._testbed.thaw(target)

    async def _lose_leader(self, fault: Fault) -> None:
        """Kills the broker that leads a partition; it is back once all brokers have all records."""
        brokers = self._testbed.brokers
        assert brokers is not None
        name = await brokers.leader(CART_CHANGED.name)
        await brokers.kill(name)
        log.info("broker.killed", broker=name)
        if fault.kind is Kind.BROKER_EMPTY:
            brokers.wipe(name)
        await asyncio.sleep(fault.seconds)
        await brokers.start(name)
        await brokers.until_in_sync()

    async def _older_copy(self, fault: Fault) -> Path | None:
        """The replica of a failover stops receiving its `seconds` before the failover."""
        if fault.kind not in {Kind.STALE_QUIET, Kind.STALE_WRITTEN}:
            return None
        copy = await self._testbed.copy_of_redis()
        await asyncio.sleep(fault.seconds)
        return copy
