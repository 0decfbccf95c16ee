"""`cartstream workers`: what is said of groups, their members and their lag."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.workers import GroupReport, GroupState, Member, Sample, report
from runtime.settings import KafkaSettings
from tests.ops.command_line import CommandLine
from tests.sinks.cart_records import TopicWriter, grow, new_cart_id
from tests.support.processes import AgentProcess
from topics.groups import GROUPS, POSTGRES_SINK, REDIS_SINK, Group
from topics.registry import PARTITIONS

POSTGRES = next(group for group in GROUPS if group.name == POSTGRES_SINK)
REDIS = next(group for group in GROUPS if group.name == REDIS_SINK)


def member(name: str, *partitions: int) -> Member:
    return Member(instance_id=name, host="host", address="10.0.0.1", partitions=list(partitions))


def said(
    members: Sequence[Member],
    positions: tuple[Mapping[int, int], Mapping[int, int]],
    ends: Mapping[int, int],
    state: GroupState = GroupState.STABLE,
    group: Group = POSTGRES,
    written: Mapping[int, float] | None = None,
) -> GroupReport:
    first, last = (Sample(at, found, ends) for at, found in zip((10.0, 12.0), positions, strict=True))
    return report(group, (state, members), first, last, written or {})


def test_lag_rate_and_age_are_those_of_the_partitions_together() -> None:
    found = said(
        [member("a", 0), member("b", 1)],
        ({0: 10, 1: 5}, {0: 30, 1: 5}),
        {0: 40, 1: 5},
        written={0: 8.5},
    )
    assert (found.lag, found.records_per_s, found.behind_s) == (10, 10.0, 3.5)
    assert [(place.lag, place.behind_s) for place in found.partitions] == [(10, 3.5), (0, 0.0)]
    assert (found.spare, found.unowned, found.problem) == ([], [], None)


def test_a_group_is_as_far_behind_as_when_its_positions_were_read() -> None:
    # Others may have been asked long before: only the time of the group's own sample counts.
    last = Sample(110.0, {0: 5, 1: 5, 2: 5}, {0: 6, 1: 6, 2: 6})
    first = Sample(20.0, {0: 5, 1: 5, 2: 5}, {0: 5, 1: 5, 2: 5})
    found = report(POSTGRES, (GroupState.STABLE, [member("a", 0, 1, 2)]), first, last, {0: 100.0, 1: 111.0})
    assert [place.behind_s for place in found.partitions] == [10.0, 0.0, None]
    assert found.behind_s == 10.0


def test_spare_members_and_partitions_without_owner_are_named() -> None:
    found = said([member("a", 0), member("b")], ({0: 1, 1: 1}, {0: 1, 1: 1}), {0: 1, 1: 4})
    assert (found.spare, found.unowned) == (["b"], [1])
    assert found.problem is not None
    assert "no owner" in found.problem


def test_a_group_without_members_says_what_to_start() -> None:
    for state in (GroupState.EMPTY, GroupState.UNKNOWN):
        found = said([], ({}, {}), {0: 3}, state)
        assert (found.lag, found.behind_s, found.records_per_s) == (None, None, None)
        assert found.problem is not None
        assert "cartstream sinks postgres" in found.problem


def test_positions_that_redis_does_not_have_are_not_known() -> None:
    found = said([member("a", 0)], ({}, {}), {0: 3}, group=REDIS)
    assert found.lag is None
    assert found.problem is not None
    assert "Redis" in found.problem


async def test_every_group_is_shown_and_that_of_a_worker_with_its_figures(
    command_line: CommandLine, topics: TopicWriter, kafka: KafkaSettings, tmp_path: Path
) -> None:
    environment = {
        "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
        "CARTSTREAM_POSTGRES_URL": command_line.told["CARTSTREAM_POSTGRES_URL"],
        "CARTSTREAM_GROUP_INSTANCE_ID": "shown-0",
    }
    sink = AgentProcess(("sinks", "postgres"), environment, tmp_path)
    await sink.start()
    try:
        found = await command_line.json("workers", "--seconds", "0.2")
        groups = {group["group"]: group for group in found["groups"]}
        assert set(groups) == {group.name for group in GROUPS}
        shown = groups[POSTGRES_SINK]
        assert shown["state"] == "stable"
        (only,) = shown["members"]
        assert (only["instance_id"], only["partitions"]) == ("shown-0", list(range(PARTITIONS)))
    finally:
        await sink.stop()
    await topics.state(cart_id := new_cart_id(), grow(cart_id, 1))
    left = await command_line.run("workers", "--seconds", "0.2")
    assert left.status == 0
    assert f"{POSTGRES_SINK}: nobody works on it" in left.output
    found = await command_line.json("workers", "--seconds", "0.2")
    (shown,) = [group for group in found["groups"] if group["group"] == POSTGRES_SINK]
    assert shown["lag"] >= 1
    assert shown["behind_s"] > 0, shown


async def test_without_kafka_it_says_what_to_look_at(command_line: CommandLine) -> None:
    away = CommandLine({**command_line.told, "CARTSTREAM_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    answer = await away.run("workers")
    assert answer.status == 1
    assert "CARTSTREAM_KAFKA_BOOTSTRAP" in answer.errors
