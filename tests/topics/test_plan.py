"""What differs between a cluster and the registry, decided without a cluster."""

import pytest

from carts.limits import TIMING
from carts.protocol import publish_in_time
from delivery.settings import DeliverySettings
from topics.names import in_kafka
from topics.plan import (
    CLOSED,
    Observed,
    ObservedTopic,
    Severity,
    Wanted,
    closed,
    fixed,
    missing,
    outdated,
    unreadable,
    unsafe,
)
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS, TOPICS, TopicSpec, topic

WANTED = Wanted(partitions=16)


def observed_topic(
    spec: TopicSpec, *, replicas: int = 3, partitions: int = 16, **configs: str
) -> ObservedTopic:
    right = spec.configs(replicas=replicas)
    return ObservedTopic(
        partitions=partitions,
        replicas=replicas,
        configs={**right, **{name.replace("_", "."): value for name, value in configs.items()}},
    )


def cluster(topic: ObservedTopic, *, auto_create: bool = False) -> Observed:
    return Observed(brokers=3, auto_create=auto_create, topics={CARTS.name: topic})


def test_a_cluster_as_it_must_be_has_no_differences() -> None:
    observed = cluster(observed_topic(CARTS))
    for differ in (fixed, unsafe):
        assert differ(observed, [CARTS], WANTED) == []
    assert outdated(observed, [CARTS]) == []
    assert missing(observed, [CARTS]) == []


def test_a_missing_topic_is_missing() -> None:
    assert missing(cluster(observed_topic(CARTS)), [CARTS, CART_CHANGED]) == [CART_CHANGED]


def test_a_setting_that_differs_is_outdated() -> None:
    (difference,) = outdated(cluster(observed_topic(CARTS, cleanup_policy="delete")), [CARTS])
    assert (difference.setting, difference.found, difference.expected) == (
        "cleanup.policy",
        "delete",
        "compact",
    )


def test_another_number_of_partitions_is_never_mended_only_told() -> None:
    (difference,) = fixed(cluster(observed_topic(CARTS, partitions=8)), [CARTS], WANTED)
    assert difference.severity is Severity.ERROR
    assert "CARTSTREAM_PARTITIONS=8" in difference.advice


@pytest.mark.parametrize(
    ("observed", "setting"),
    [
        (cluster(observed_topic(CARTS, replicas=1)), "replication"),
        (cluster(observed_topic(CARTS, replicas=2)), "replication"),
        (cluster(observed_topic(CARTS, min_insync_replicas="1")), "min.insync.replicas"),
        (cluster(observed_topic(CARTS), auto_create=True), "auto.create.topics.enable"),
    ],
)
def test_what_may_lose_records_is_an_error_and_in_development_a_warning(
    observed: Observed, setting: str
) -> None:
    (difference,) = unsafe(observed, [CARTS], WANTED)
    assert (difference.setting, difference.severity) == (setting, Severity.ERROR)
    relaxed = Wanted(partitions=16, safety=Severity.WARNING)
    assert [diff.severity for diff in unsafe(observed, [CARTS], relaxed)] == [Severity.WARNING]


def test_unclean_election_is_mended_by_apply() -> None:
    topic = observed_topic(CARTS, unclean_leader_election_enable="true")
    (difference,) = outdated(cluster(topic), [CARTS])
    assert difference.expected == "false"


def test_a_partition_without_a_leader_is_an_error_in_development_too() -> None:
    topic = ObservedTopic(partitions=16, replicas=3, leaderless=(3, 9), configs=CARTS.configs(replicas=3))
    relaxed = Wanted(partitions=16, safety=Severity.WARNING)
    (difference,) = unsafe(cluster(topic), [CARTS], relaxed)
    assert (difference.found, difference.severity) == ("none for 3, 9", Severity.ERROR)


@pytest.mark.parametrize(
    ("behind", "found", "severity"),
    [
        ({3: 2, 9: 2}, "2 for 3, 9", Severity.WARNING),
        ({3: 2, 9: 1}, "1 for 9; 2 for 3", Severity.ERROR),
    ],
)
def test_a_partition_that_lacks_copies_is_told_and_an_error_once_nothing_is_written_to_it(
    behind: dict[int, int], found: str, severity: Severity
) -> None:
    # One without a leader is told as such, however many copies it lacks.
    topic = ObservedTopic(
        partitions=16, replicas=3, leaderless=(5,), behind={**behind, 5: 0}, configs=CARTS.configs(replicas=3)
    )
    told = {diff.setting: diff for diff in unsafe(cluster(topic), [CARTS], WANTED)}
    assert (told["copies in sync"].found, told["copies in sync"].severity) == (found, severity)
    assert told["leaders"].found == "none for 5"


def test_too_few_brokers_are_told_before_topics_are_made() -> None:
    observed = Observed(brokers=1, auto_create=False, topics={})
    assert WANTED.copies(observed) == 1
    assert [diff.setting for diff in unsafe(observed, [CARTS], WANTED)] == ["brokers"]


def test_settings_that_may_not_be_read_are_told_and_nothing_is_altered_blindly() -> None:
    observed = cluster(ObservedTopic(partitions=16, replicas=3, configs={}))
    assert outdated(observed, [CARTS]) == []
    assert unsafe(observed, [CARTS], WANTED) == []
    (difference,) = unreadable(observed, [CARTS])
    assert (difference.found, difference.severity) == ("not permitted", Severity.WARNING)


def test_the_registry_holds_the_topics_of_the_design() -> None:
    names = (
        "cart-changed",
        "carts",
        "purge-floors",
        "products",
        "orders",
        "cart-merges",
        "cart-abandoned",
        "dead-letters",
    )
    assert [spec.name for spec in TOPICS] == [in_kafka(name) for name in names]
    assert all(topic(spec.name) is spec for spec in TOPICS)
    assert all(spec.key and spec.written_by and spec.purpose for spec in TOPICS)


def test_the_broker_refuses_a_change_later_than_the_publish_deadline() -> None:
    configs = CART_CHANGED.configs(replicas=3)
    assert configs["message.timestamp.before.max.ms"] == str(TIMING.publish_deadline_us // 1000)
    latest_us = int(configs["message.timestamp.before.max.ms"]) * 1000
    assert publish_in_time(latest_us, 0)
    assert not publish_in_time(latest_us + 1, 0)


def test_carts_stays_small_and_nothing_is_cleaned_before_it_may() -> None:
    configs = {name: int(value) for name, value in CARTS.settings.items() if name.endswith(".ms")}
    minute_ms = 60_000
    # Three records a cart at 500 changes/s over 20,000 carts: one, and a segment's worth of changes.
    assert configs["segment.ms"] <= minute_ms
    assert configs["segment.ms"] <= configs["min.compaction.lag.ms"] <= 10 * minute_ms
    assert configs["min.compaction.lag.ms"] < configs["max.compaction.lag.ms"]
    # A local store that still has a deleted cart, and everybody who was away for hours, sees the deletion.
    store_age_ms = DeliverySettings().local_store_max_age_s * 1000
    assert store_age_ms < configs["delete.retention.ms"]
    assert CARTS.configs(replicas=3)["message.timestamp.type"] == "LogAppendTime"


def test_a_dead_letter_has_room_for_any_record() -> None:
    largest = max(spec.max_message_bytes for spec in TOPICS if spec is not DEAD_LETTERS)
    assert DEAD_LETTERS.max_message_bytes > largest


def test_topics_that_are_not_of_carts_may_have_another_number_of_partitions() -> None:
    wanted = Wanted(partitions=48, others=16)
    observed = Observed(
        brokers=3,
        auto_create=False,
        topics={
            CARTS.name: observed_topic(CARTS, partitions=48),
            ORDERS.name: observed_topic(ORDERS, partitions=16),
        },
    )
    assert fixed(observed, [CARTS, ORDERS], wanted) == []
    of_carts, of_orders = fixed(observed, [CARTS, ORDERS], Wanted(partitions=24, others=32))
    assert (of_carts.expected, of_orders.expected) == ("24", "32")
    assert "CARTSTREAM_PARTITIONS=48" in of_carts.advice
    assert "CARTSTREAM_OTHER_PARTITIONS=16" in of_orders.advice


def test_closed_topics_of_carts_are_told_and_never_opened_by_an_apply() -> None:
    topic = observed_topic(CART_CHANGED, max_message_bytes=CLOSED)
    observed = Observed(brokers=3, auto_create=False, topics={CART_CHANGED.name: topic})
    assert outdated(observed, [CART_CHANGED]) == []
    (difference,) = closed(observed)
    assert (difference.topic, difference.found, difference.severity) == (
        CART_CHANGED.name,
        "closed",
        Severity.ERROR,
    )
    assert closed(cluster(observed_topic(CARTS))) == []
