"""What is wrong, the worst first, and what to do about each. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from carts.limits import TIMING
from ops.overview.document import Letters, Overview, Severity, Trouble
from ops.overview.processes import Process, ProcessState
from ops.overview.stores import KafkaHealth, RedisHealth
from ops.overview.traffic import Job, Traffic
from ops.workers import GroupReport, GroupState
from store.postgres.overview import Tables

LATE_S: Final = 10.0
"""A group is late when its first waiting record is as old."""
LONG_S: Final = 60.0
"""Nothing that is carried on by itself takes so long."""
FULL_SHARE: Final = 0.8
"""Of `maxmemory`."""


def troubles(overview: Overview) -> list[Trouble]:
    """All that is wrong, the worst first."""
    found = [
        *_of_servers(overview),
        *_of_processes(overview.processes),
        *_of_groups(overview.groups.value or ()),
        *_of_traffic(overview.traffic),
        *_of_jobs(overview.jobs),
    ]
    if overview.redis.value is not None:
        found += _of_redis(overview.redis.value)
    if overview.kafka.value is not None:
        found += _of_kafka(overview.kafka.value)
    if overview.postgres.value is not None:
        found += _of_tables(overview.postgres.value, overview.at)
    if overview.letters.value is not None and overview.letters.value.open:
        found.append(_of_letters(overview.letters.value))
    order = list(Severity)
    return sorted(found, key=lambda trouble: order.index(trouble.severity))


def _of_servers(overview: Overview) -> Iterator[Trouble]:
    for name, error in (
        ("Redis", overview.redis.error),
        ("Kafka", overview.kafka.error or overview.groups.error),
        ("Postgres", overview.postgres.error),
        ("Dead letters", overview.letters.error and not overview.kafka.error and overview.letters.error),
    ):
        if error:
            yield Trouble(
                Severity.BAD, f"{name}: {error}", "see that it runs and can be reached from here", "servers"
            )


def _of_processes(processes: Iterable[Process]) -> Iterator[Trouble]:
    some = list(processes)
    if not some:
        yield Trouble(
            Severity.NOTE,
            "no process is known, so there is no throughput",
            "name them in CARTSTREAM_OPS_TARGETS, or give all of them one folder CARTSTREAM_METRICS_TARGETS",
            "processes",
        )
    for process in some:
        why = "; ".join(f"{name}: {detail}" for name, detail in process.failing.items())
        match process.state:
            case ProcessState.SILENT:
                yield Trouble(
                    Severity.BAD,
                    f"{process.name} does not answer",
                    "see whether it runs and has CPU; its log says more. Restart it if it is frozen",
                    "processes",
                )
            case ProcessState.GONE:
                yield Trouble(
                    Severity.WARNING,
                    f"{process.name} has ended",
                    "start it again if it is needed; a restart of this page forgets it",
                    "processes",
                )
            case ProcessState.NOT_READY:
                yield Trouble(
                    Severity.BAD, f"{process.name} is not ready: {why}", "see what it waits for", "processes"
                )
            case ProcessState.DEGRADED:
                yield Trouble(
                    Severity.WARNING,
                    f"{process.name} is degraded: {why}",
                    "restore what it misses; another process could do no more",
                    "processes",
                )
            case _:
                pass


def _of_groups(groups: Iterable[GroupReport]) -> Iterator[Trouble]:
    for group in groups:
        if group.state is GroupState.UNKNOWN or (group.state is GroupState.EMPTY and not group.members):
            # Nobody ever worked on it: perhaps nobody is meant to.
            severity = Severity.NOTE if group.state is GroupState.UNKNOWN else Severity.WARNING
            if group.lag and group.state is not GroupState.UNKNOWN:
                severity = Severity.BAD
            waiting = f", and {_count(group.lag, 'record')} wait" if group.lag else ""
            yield Trouble(
                severity, f"{group.group} has no worker{waiting}", f"start `{group.command}`", "groups"
            )
        elif group.problem:
            yield Trouble(Severity.WARNING, f"{group.group}: {group.problem}", "", "groups")
        elif group.behind_s is not None and group.behind_s > LATE_S:
            severity = Severity.BAD if group.behind_s > LONG_S else Severity.WARNING
            yield Trouble(
                severity,
                f"{group.group} is {group.behind_s:.0f} s behind: {_count(group.lag or 0, 'record')} wait",
                f"see that every worker of `{group.command}` answers; if all are busy, add workers",
                "groups",
            )


def _of_redis(redis: RedisHealth) -> Iterator[Trouble]:
    if redis.restoring:
        silent = sum(each.report is None for each in redis.restoring)
        yield Trouble(
            Severity.BAD,
            f"{len(redis.restoring)} of {redis.partitions} partitions are being restored: their carts cannot "
            "be changed yet",
            f"see that `cartstream sinks redis` runs: nobody reports about {_count(silent, 'partition')}"
            if silent
            else "nothing: it goes on by itself; carts come back as their partition is done",
            "restore",
        )
    if redis.role != "master":
        yield Trouble(
            Severity.BAD,
            f"Redis is a {redis.role}: changes are refused",
            "promote it, or point CARTSTREAM_REDIS_URL at the primary",
            "servers",
        )
    if redis.max_bytes and redis.used_bytes > FULL_SHARE * redis.max_bytes:
        yield Trouble(
            Severity.WARNING,
            f"Redis uses {redis.used_bytes / redis.max_bytes:.0%} of its memory",
            "raise maxmemory, or shorten the idle limits of carts",
            "servers",
        )
    oldest = max((each.oldest_s for each in redis.outboxes), default=0.0)
    if oldest > TIMING.publish_deadline_us / 1e6:
        entries = sum(each.entries for each in redis.outboxes)
        yield Trouble(
            Severity.BAD,
            f"{_count(entries, 'change')} wait in the Redis outboxes, the oldest for {oldest:.0f} s",
            "see that Kafka runs and a gateway can publish: its sweeper empties them",
            "outboxes",
        )


def _of_kafka(kafka: KafkaHealth) -> Iterator[Trouble]:
    if kafka.under_replicated:
        some = ", ".join(kafka.under_replicated[:3])
        yield Trouble(
            Severity.WARNING,
            f"{_count(len(kafka.under_replicated), 'partition')} of Kafka lack a replica: {some}",
            "see that all brokers run",
            "servers",
        )


def _of_traffic(traffic: Traffic) -> Iterator[Trouble]:
    if traffic.changes_lost:
        yield Trouble(
            Severity.BAD,
            f"{_count(traffic.changes_lost, 'change')} got lost behind Redis since `sinks redis` was started "
            "and cannot be sent again",
            "`cartstream verify` names the carts (redis_uncovered), `cartstream carts show` says what "
            "happened; the runbook is CartstreamChangesLost. Restart `sinks redis` once they are mended: it "
            "counts anew",
            "traffic",
        )
    if traffic.redis_full:
        yield Trouble(Severity.BAD, "Redis is full: carts do not grow", "raise maxmemory", "servers")
    if traffic.breakers_open:
        yield Trouble(
            Severity.BAD,
            "a gateway does not reach Kafka: its changes are acknowledged with durability redis",
            "check Kafka, and that all clocks agree",
            "traffic",
        )
    if traffic.deaf:
        yield Trouble(
            Severity.WARNING,
            "live carts show nothing new",
            "check Redis; with ACLs the gateway's user needs the channels (&*)",
            "traffic",
        )
    if traffic.products_stand_still:
        yield Trouble(
            Severity.WARNING,
            "shoppers see old prices: the product cache stands still",
            "raise maxmemory",
            "servers",
        )
    if traffic.shed_per_s:
        yield Trouble(
            Severity.WARNING,
            f"{traffic.shed_per_s:.1f} requests a second are turned away",
            "more workers of the gateway; if few requests are in flight, look at its CPU and at Redis",
            "traffic",
        )


def _of_jobs(jobs: Iterable[Job]) -> Iterator[Trouble]:
    for job in jobs:
        if job.name == "relay" and (job.done_before_s is None or job.done_before_s > LONG_S):
            yield Trouble(
                Severity.WARNING,
                "the job relay is not done: orders and products do not reach Kafka",
                "see that `cartstream jobs` runs; its log says why",
                "jobs",
            )


def _of_letters(letters: Letters) -> Trouble:
    codes = ", ".join(f"{count} {code}" for code, count in sorted(letters.codes.items()))
    at_least = "at least " if letters.more else ""
    return Trouble(
        Severity.WARNING,
        f"{at_least}{_count(letters.open, 'dead letter')} open: {codes}",
        "look at one, remove the cause, then retry; drop what nobody needs",
        "letters",
    )


def _of_tables(tables: Tables, now_s: float) -> Iterator[Trouble]:
    if tables.outbox_oldest_s > LONG_S:
        yield Trouble(
            Severity.WARNING,
            f"{_count(tables.outbox_rows, 'record')} wait in the Postgres outbox, the oldest for "
            f"{tables.outbox_oldest_s:.0f} s",
            "see that `cartstream jobs` and Kafka run",
            "outboxes",
        )
    if (age := _age(tables.unsettled[0].placed_at if tables.unsettled else None, now_s)) > LONG_S:
        yield Trouble(
            Severity.WARNING,
            f"{_count(tables.unsettled_count, 'order')} not seen in their carts, the oldest for {age:.0f} s",
            "see that jobs, a gateway, compaction and the Postgres sink run: an order passes through all of "
            "them. One whose cart has expired waits until the cart is deleted",
            "orders",
        )
    # One that was taken up again has the beginning of time until somebody attends to it.
    attended = [each.attended_at for each in tables.merges if each.attended_at >= each.began_at]
    oldest = min([*attended, *filter(None, [tables.transfers_oldest])], default=None)
    if (age := _age(oldest, now_s)) > LONG_S:
        yield Trouble(
            Severity.WARNING,
            f"a merge has waited for {age:.0f} s",
            "see that `cartstream streams merges`, a gateway, compaction and the Postgres sink run",
            "merges",
        )


def _age(moment: datetime | None, now_s: float) -> float:
    return 0.0 if moment is None else now_s - moment.timestamp()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
