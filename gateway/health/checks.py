"""Liveness and readiness: what the gateway needs to be useful, and what it can do without."""

import asyncio
from typing import Final

from gateway.health.topics import TopicsCheck
from gateway.outbox.publisher import ChangePublisher
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.storage import StorageWatch
from gateway.settings import GatewaySettings
from runtime.health import Check, Health, Readiness, judge
from runtime.redaction import redacted
from store.redis import CartStore, Memory, ServerFacts, StoreError

_CHECK_S: Final = 2.0
_CLOCK_SKEW_US: Final = 5_000_000
"""Half of the publish deadline. The gateway's clock stands for the broker's, which nobody can ask for: with a
Redis clock further off, the broker may refuse changes."""


_BADNESS: Final = (Health.OK, Health.DEGRADED, Health.FAILED)


def judge_servers(
    servers: list[ServerFacts], unreachable: list[str], now_us: int, reserve_share: float
) -> Check:
    """Whether all servers keep what they are given; what is wrong with the worst."""
    checks = [(facts.address, judge_redis(facts, now_us, reserve_share)) for facts in servers]
    if unreachable:
        lost = "no answer; its carts cannot be changed, reads of them are stale"
        checks.append((", ".join(unreachable), Check(Health.DEGRADED, lost)))
    address, worst = max(checks, key=lambda check: _BADNESS.index(check[1].status))
    if worst.detail is None or len(checks) == 1:
        return worst
    return Check(worst.status, f"{address}: {worst.detail}")


def judge_redis(facts: ServerFacts, now_us: int, reserve_share: float) -> Check:
    """Whether this server keeps what it is given, from INFO (managed servers refuse CONFIG)."""
    if (failure := _failure(facts, now_us)) is not None:
        return Check(Health.FAILED, failure)
    if (weakness := _weakness(facts, reserve_share)) is not None:
        return Check(Health.DEGRADED, weakness)
    return Check(Health.OK)


def _failure(facts: ServerFacts, now_us: int) -> str | None:
    behind_us = now_us - facts.time_us
    if facts.role != "master":
        return f"it is a {facts.role}; CARTSTREAM_REDIS_URL must lead to the master"
    if facts.loading:
        return "it is loading its data"
    if facts.maxmemory_policy not in {"noeviction", None}:
        return f"maxmemory-policy is {facts.maxmemory_policy}; set noeviction, or carts will vanish"
    if abs(behind_us) > _CLOCK_SKEW_US:
        return f"its clock is {behind_us / 1e6:.1f} s behind this one; ages are misjudged: set the clocks"
    return None


def _weakness(facts: ServerFacts, reserve_share: float) -> str | None:
    if not Memory(facts.used_memory, facts.maxmemory).has_room(reserve_share):
        return (
            f"it is full: {facts.used_memory} of maxmemory's {facts.maxmemory} bytes are used, "
            "the rest is its reserve; carts can be read, ordered and emptied, but not grow: raise maxmemory"
        )
    if facts.aof_enabled is False:
        return "no append-only file: a crash loses what Kafka lacks; set appendonly yes"
    untold = [
        name
        for name, value in (("maxmemory-policy", facts.maxmemory_policy), ("appendonly", facts.aof_enabled))
        if value is None
    ]
    if untold:
        return (
            f"its INFO is refused or lacks {' and '.join(untold)}: see at its provider that carts cannot be "
            "evicted and are on disk (noeviction, yes), and allow the user `info`"
        )
    return None


def judge_products(stand_since_us: int | None, now_us: int) -> Check:
    """Whether the product cache shows what the catalogue says."""
    if stand_since_us is None:
        return Check(Health.OK)
    return Check(
        Health.DEGRADED,
        f"the cache has stood still for {max(0, now_us - stand_since_us) / 1e6:.0f} s, for Redis is full; "
        "it follows by itself once there is room: raise maxmemory",
    )


def judge_schema(pending: list[str]) -> Check:
    """Whether the database has what this version needs; `pending` names the migrations that it lacks."""
    if not pending:
        return Check(Health.OK)
    return Check(
        Health.FAILED,
        f"the schema lacks {', '.join(pending)}: run `cartstream migrate`; "
        "carts that are not in Redis cannot be reached, and nothing can be ordered",
    )


class HealthChecks:
    """Asks the dependencies. `draining` makes the gateway not ready while it still serves."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        publisher: ChangePublisher,
        hydration: Hydration,
        topics: TopicsCheck,
        storage: StorageWatch,
    ) -> None:
        self._reserve_share = settings.redis_reserve_share
        self._storage = storage
        self._store = store
        self._topics = topics
        self._publisher = publisher
        self._hydration = hydration
        self.draining = False

    async def readiness(self, now_us: int) -> Readiness:
        """The state of all dependencies; `now_us` is the gateway's clock."""
        redis, postgres = await asyncio.gather(self._redis(now_us), self._postgres())
        checks = {"redis": redis, "kafka": self._kafka(), "postgres": postgres}
        if self._storage.products_stand_since_us is not None:
            checks["products"] = judge_products(self._storage.products_stand_since_us, now_us)
        if self._topics.problem is not None:
            checks["topics"] = Check(Health.FAILED, self._topics.problem)
        if self.draining:
            checks["gateway"] = Check(Health.FAILED, "it is stopping")
        return judge(checks)

    async def _redis(self, now_us: int) -> Check:
        try:
            async with asyncio.timeout(_CHECK_S):
                facts = await self._store.facts()
                return judge_servers(facts, self._store.unreachable, now_us, self._reserve_share)
        except (StoreError, TimeoutError) as error:
            return Check(
                Health.FAILED,
                f"no answer ({redacted(str(error)) or 'in time'}); carts cannot be changed, reads are stale",
            )

    def _kafka(self) -> Check:
        if self._publisher.connected:
            return Check(Health.OK)
        return Check(
            Health.DEGRADED,
            "no acknowledgement; changes have durability redis and wait for a gateway that can publish",
        )

    async def _postgres(self) -> Check:
        try:
            async with asyncio.timeout(_CHECK_S):
                return judge_schema(await self._hydration.pending_migrations())
        except (DatabaseUnavailable, TimeoutError):
            return Check(Health.DEGRADED, "no answer; carts that are not in Redis cannot be reached")
