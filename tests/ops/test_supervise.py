"""`cartstream supervise`: as many workers as the lag asks for."""

from pathlib import Path

import psycopg
import pytest

from ops.scaling import load_of
from ops.workers import GroupReport, GroupState
from runtime.supervision.scaling import Load
from tests.ops.command_line import CommandLine
from tests.sinks.cart_records import TopicWriter, grow, new_cart_id
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.groups import CATALOGUE_SINK, POSTGRES_SINK, REDIS_SINK


def seen(group: str, behind_s: float | None, *spare: str) -> GroupReport:
    return GroupReport(
        group=group,
        command="cartstream sinks redis",
        topic="carts",
        state=GroupState.STABLE,
        members=[],
        partitions=[],
        spare=list(spare),
        unowned=[],
        lag=None,
        behind_s=behind_s,
        records_per_s=None,
    )


def test_of_two_groups_with_the_same_workers_the_one_further_behind_counts() -> None:
    assert load_of([seen(REDIS_SINK, 3.0), seen(CATALOGUE_SINK, 40.0)]) == Load(behind_s=40.0)


def test_a_group_whose_lag_is_not_known_makes_the_load_unknown() -> None:
    assert load_of([seen(REDIS_SINK, None), seen(CATALOGUE_SINK, 40.0)]) is None


def test_workers_are_spare_if_they_are_in_all_their_groups() -> None:
    assert load_of([seen(REDIS_SINK, 3.0, "a"), seen(CATALOGUE_SINK, 0.0)]) == Load(behind_s=3.0)
    assert load_of([seen(POSTGRES_SINK, 3.0, "a")]) == Load(behind_s=3.0, spare=True)


async def test_a_worker_comes_while_the_group_is_late_and_leaves_when_it_is_calm(
    command_line: CommandLine, topics: TopicWriter, tmp_path: Path
) -> None:
    options = ("--max", "2", "--behind", "2", "--more-after", "0", "--fewer-after", "0", "--every", "0.5")
    environment = {
        **command_line.told,
        "CARTSTREAM_GROUP_INSTANCE_ID": "scaled",
    }
    agents = AgentProcess(
        ("supervise", *options, "sinks", "postgres"), environment, tmp_path, name="supervised"
    )
    try:
        await agents.start()
        assert set(agents.workers()) == {"scaled-0"}
        url = command_line.told["CARTSTREAM_POSTGRES_URL"]
        async with await psycopg.AsyncConnection.connect(url) as somebody:
            await somebody.execute("LOCK TABLE carts IN ACCESS EXCLUSIVE MODE")
            await topics.state(cart_id := new_cart_id(), grow(cart_id, 1))
            await until(lambda: set(agents.workers()) == {"scaled-0", "scaled-1"}, "a second worker")
            await somebody.rollback()
        await until(lambda: set(agents.workers()) == {"scaled-0"}, "the second worker gone")
        assert await agents.stop() == 0
    finally:
        agents.kill()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--max", "2", "streams", "compactor"), "there is no agent `streams compactor`"),
        (("--min", "3", "--max", "2", "streams", "compaction"), "--min 3 is more than --max 2"),
        (("--max", "17", "streams", "compaction"), "use --max 16"),
    ],
)
async def test_a_wrong_argument_is_told_before_anything_starts(
    arguments: tuple[str, ...], complaint: str
) -> None:
    answer = await CommandLine({}).run("supervise", *arguments)
    assert answer.status == 2
    assert complaint in " ".join(answer.errors.split())
