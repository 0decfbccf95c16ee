"""What the overview calls wrong, and what it says of stores."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from carts.protocol import Marker
from ops.overview.document import Letters, Overview, Part, Severity
from ops.overview.processes import Process, ProcessState
from ops.overview.stores import (
    KafkaHealth,
    Outbox,
    RedisHealth,
    Restoring,
    kafka_health,
    redis_health,
    warmed,
)
from ops.overview.traffic import Job, traffic
from ops.overview.troubles import troubles
from ops.workers import GroupReport, GroupState
from store.postgres.overview import Tables, Unsettled
from store.redis import OutboxDepth, ServerFacts

NOW = datetime(2026, 11, 28, tzinfo=UTC)
REDIS: dict[str, Any] = {
    "version": "9.1",
    "role": "master",
    "used_bytes": 10,
    "max_bytes": 100,
    "is_durable": True,
    "round_trip_ms": 0.2,
    "partitions": 16,
    "outboxes": [],
    "restoring": [],
    "warming": [],
}
TABLES: dict[str, Any] = {
    "version": "17",
    "connections": 3,
    "max_connections": 100,
    "outbox_rows": 0,
    "outbox_oldest_s": 0.0,
    "unsettled_count": 0,
    "unsettled": [],
    "merges_count": 0,
    "merges": [],
    "transfers_count": 0,
    "transfers_oldest": None,
    "left_behind_count": 0,
    "left_behind": [],
    "mails_count": 0,
    "mails_oldest": None,
}
GROUP: dict[str, Any] = {
    "group": "cartstream-postgres",
    "command": "cartstream sinks postgres",
    "topic": "carts",
    "state": GroupState.STABLE,
    "members": [],
    "partitions": [],
    "spare": [],
    "unowned": [],
    "lag": 0,
    "behind_s": 0.0,
    "records_per_s": 0.0,
}
READY = Process(name="jobs", address="http://h:1", state=ProcessState.READY, failing={})


def overview(**changed: Any) -> Overview:
    whole: dict[str, Any] = {
        "at": NOW.timestamp(),
        "looked": True,
        "troubles": [],
        "traffic": traffic([], []),
        "times": [],
        "jobs": [],
        "processes": [READY],
        "redis": Part(RedisHealth(**REDIS)),
        "kafka": Part(KafkaHealth(1, [])),
        "postgres": Part(Tables(**TABLES)),
        "groups": Part([GroupReport(**GROUP)]),
        "letters": Part(Letters(0, {}, 0)),
        "points": [],
    }
    return Overview(**(whole | changed))


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert troubles(overview()) == []


@pytest.mark.parametrize(
    ("changed", "severity", "what", "do"),
    [
        ({"processes": []}, Severity.NOTE, "no process is known", "CARTSTREAM_OPS_TARGETS"),
        (
            {
                "processes": [
                    Process(name="jobs", address="http://h:1", state=ProcessState.SILENT, failing={})
                ]
            },
            Severity.BAD,
            "jobs does not answer",
            "log",
        ),
        ({"redis": Part(None, "no connection")}, Severity.BAD, "Redis: no connection", "runs"),
        (
            {"redis": Part(RedisHealth(**REDIS | {"restoring": [Restoring(3, None)]}))},
            Severity.BAD,
            "1 of 16 partitions are being restored",
            "cartstream sinks redis",
        ),
        (
            {"redis": Part(RedisHealth(**REDIS | {"outboxes": [Outbox(3, 7, 700, 30.0)]}))},
            Severity.BAD,
            "7 changes wait in the Redis outboxes, the oldest for 30 s",
            "Kafka",
        ),
        (
            {"redis": Part(RedisHealth(**REDIS | {"used_bytes": 90}))},
            Severity.WARNING,
            "90% of its memory",
            "maxmemory",
        ),
        (
            {"groups": Part([GroupReport(**GROUP | {"state": GroupState.EMPTY, "lag": 5})])},
            Severity.BAD,
            "cartstream-postgres has no worker, and 5 records wait",
            "cartstream sinks postgres",
        ),
        (
            {"groups": Part([GroupReport(**GROUP | {"state": GroupState.UNKNOWN, "lag": 5})])},
            Severity.NOTE,
            "has no worker",
            "cartstream sinks postgres",
        ),
        (
            {"groups": Part([GroupReport(**GROUP | {"lag": 5, "behind_s": 70.0})])},
            Severity.BAD,
            "is 70 s behind",
            "add workers",
        ),
        (
            {"kafka": Part(KafkaHealth(2, ["carts/0"]))},
            Severity.WARNING,
            "lack a replica: carts/0",
            "brokers",
        ),
        (
            {"traffic": msgspec.structs.replace(traffic([], []), changes_lost=2)},
            Severity.BAD,
            "2 changes got lost behind Redis since `sinks redis` was started",
            "Restart `sinks redis` once they are mended",
        ),
        ({"letters": Part(Letters(2, {"not_json": 2}, 2))}, Severity.WARNING, "2 dead letters", "retry"),
        (
            {"letters": Part(Letters(2, {"not_json": 2}, 2, more=True))},
            Severity.WARNING,
            "at least 2 dead letters",
            "retry",
        ),
        ({"jobs": [Job("relay", "jobs", 90.0)]}, Severity.WARNING, "relay is not done", "cartstream jobs"),
        (
            {
                "postgres": Part(
                    Tables(
                        **TABLES
                        | {
                            "unsettled_count": 1,
                            "unsettled": [Unsettled("o", "user:1", NOW - timedelta(seconds=90))],
                        }
                    )
                )
            },
            Severity.WARNING,
            "1 order not seen in their carts, the oldest for 90 s",
            "compaction",
        ),
        (
            {"postgres": Part(Tables(**TABLES | {"transfers_oldest": NOW - timedelta(seconds=90)}))},
            Severity.WARNING,
            "a merge has waited for 90 s",
            "streams merges",
        ),
    ],
)
def test_a_trouble_says_what_to_do(changed: dict[str, Any], severity: Severity, what: str, do: str) -> None:
    (found,) = troubles(overview(**changed))
    assert found.severity is severity
    assert what in found.what
    assert do in found.do


def test_the_worst_comes_first() -> None:
    found = troubles(overview(letters=Part(Letters(1, {"x": 1}, 1)), redis=Part(None, "away"), processes=[]))
    assert [each.severity for each in found] == [Severity.BAD, Severity.WARNING, Severity.NOTE]


def test_kafka_without_an_answer_is_one_trouble_and_not_three() -> None:
    away = Part[Any](None, "Kafka at h:9092 failed")
    assert len(troubles(overview(kafka=away, groups=away, letters=away))) == 1


def test_a_partition_without_a_marker_is_restored_and_a_cold_one_is_warmed() -> None:
    facts = ServerFacts(
        version="9.1",
        role="master",
        loading=False,
        maxmemory_policy="noeviction",
        maxmemory=0,
        used_memory=5,
        aof_enabled=True,
        time_us=0,
    )
    marker = Marker("r", rows_position=200)
    found = redis_health(
        [facts], 0.123456, [OutboxDepth(0, 0, 0, 0, 0), OutboxDepth(1, 2, 90, 1_500_000, 0)],
        {0: marker, 1: marker}, {0: 50, 1: None}, {2: None},
    )  # fmt: skip
    assert found.partitions == 3
    assert [each.partition for each in found.restoring] == [2]
    assert [(each.partition, each.percent) for each in found.warming] == [(0, 75.0)]
    assert found.outboxes == [Outbox(1, 2, 90, 1.5)]


def test_of_several_servers_the_fullest_and_one_that_is_no_master_show() -> None:
    first = ServerFacts(
        version="9.1",
        role="master",
        loading=False,
        maxmemory_policy="noeviction",
        maxmemory=100,
        used_memory=10,
        aof_enabled=True,
        time_us=0,
    )
    second = msgspec.structs.replace(first, used_memory=90, aof_enabled=None)
    third = msgspec.structs.replace(first, role="slave", aof_enabled=False)
    both = redis_health([first, second], 0.1, [], {}, {}, {})
    assert (both.role, both.used_bytes, both.is_durable) == ("master", 90, True)
    all_three = redis_health([first, second, third], 0.1, [], {}, {}, {})
    assert (all_three.role, all_three.is_durable) == ("slave", False)


def test_a_partition_whose_tail_was_everything_is_warm() -> None:
    assert warmed(Marker("r"), 0) == 100.0
    assert warmed(Marker("r", rows_position=10), 20) == 0.0


def test_partitions_that_lack_a_replica_or_a_leader_are_named() -> None:
    topics = [
        {
            "topic": "carts",
            "partitions": [
                {"partition": 0, "leader": 1, "replicas": [1, 2], "isr": [1, 2]},
                {"partition": 1, "leader": 1, "replicas": [1, 2], "isr": [1]},
                {"partition": 2, "leader": -1, "replicas": [1], "isr": [1]},
            ],
        }
    ]
    assert kafka_health({"brokers": [{}, {}]}, topics) == KafkaHealth(2, ["carts/1", "carts/2"])
