"""The worker process: how it stops, and when it ends itself so that it is started again."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from runtime.failstop import EXIT_CONFIGURATION, EXIT_RESTART
from tests.delivery.kill_loop import Load, Worker, administration, drained, lost_in_changelog, make_topics
from tests.delivery.workers import Count, right_partition
from tests.support.outages import frozen
from tests.support.waiting import until

SMALL = 400


class Scene:
    """Topics of one test and the workers it starts."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        run = uuid.uuid4().hex[:8]
        self.bootstrap, self.folder = bootstrap, folder
        self.source, self.changelog = f"numbers-{run}", f"counts-{run}"
        self.group = f"group-{self.changelog}"
        self._workers: list[Worker] = []

    def worker(self, name: str = "worker-0", folder: str | None = None, **environment: str) -> Worker:
        """A table worker called `name`, with a folder of the same name unless another is given."""
        where = self.folder / (folder or name)
        where.mkdir(exist_ok=True)
        worker = Worker(
            ["table", self.source, self.changelog, str(where)],
            {
                "CARTSTREAM_KAFKA_BOOTSTRAP": self.bootstrap,
                "CARTSTREAM_DATADIR": str(where / "data"),
                "CARTSTREAM_GROUP_INSTANCE_ID": name,
                "CARTSTREAM_COMMIT_INTERVAL_S": "0.1",
                **environment,
            },
            where,
        )
        self._workers.append(worker)
        return worker

    async def send(self, key: bytes, value: bytes) -> None:
        """Produce one record to its right partition."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all") as producer:
            await producer.send_and_wait(self.source, value, key=key, partition=right_partition(key))

    async def committed(self) -> int:
        """Sum of the committed offsets."""
        async with administration(self.bootstrap) as admin:
            return sum(meta.offset for meta in (await admin.list_consumer_group_offsets(self.group)).values())

    async def members(self) -> list[str]:
        """The ids of the members of the workers' group."""
        async with administration(self.bootstrap) as admin:
            (answer,) = await admin.describe_consumer_groups([self.group])
        return [member[0] for member in answer.groups[0][5]]

    def logged(self, event: str, name: str = "worker-0") -> list[dict[str, object]]:
        """What a worker has logged under this event name."""
        lines = (self.folder / name / "worker.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry["message"] == event]

    def close(self) -> None:
        """Leave no process behind."""
        for worker in self._workers:
            worker.kill()


@pytest.fixture
async def scene(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A source and a changelog, no worker yet."""
    with closing(Scene(kafka_bootstrap, tmp_path)) as made:
        await make_topics(kafka_bootstrap, made.source, made.changelog)
        yield made


async def test_sigterm_under_load_finishes_what_is_in_progress_and_nothing_is_read_again(
    scene: Scene,
) -> None:
    load = Load(scene.bootstrap, scene.source, 1000)
    loading = asyncio.create_task(load.run())
    first = scene.worker()
    await first.ready()
    await until(lambda: _more_than(scene, 500))
    assert await first.stop() == 0
    load.stop()
    await loading
    second = scene.worker()
    await second.ready()
    await drained(scene.bootstrap, scene.source, scene.group, second)
    assert await second.stop() == 0
    first_opened, second_opened = scene.logged("table.opened")
    assert (first_opened["rebuilt"], second_opened["rebuilt"]) == ({"nothing_stored": [*range(8)]}, {})
    assert scene.logged("table.replayed")[-1]["records"] == 0
    assert await lost_in_changelog(scene.bootstrap, scene.changelog, load.sent) == 0


async def test_a_static_worker_that_is_stopped_leaves_its_group(scene: Scene) -> None:
    worker = scene.worker()
    await worker.ready()
    assert await worker.stop() == 0
    assert await scene.members() == []


async def test_a_worker_that_is_renewed_keeps_its_place(scene: Scene) -> None:
    worker = scene.worker()
    await worker.ready()
    before = await scene.members()
    worker.send(signal.SIGHUP)
    assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
    assert await scene.members() == before != []


async def test_a_worker_whose_instance_id_another_one_takes_ends_and_says_why(scene: Scene) -> None:
    first = scene.worker(folder="first")
    await first.ready()
    second = scene.worker(folder="second")
    assert await asyncio.to_thread(first.wait) == EXIT_CONFIGURATION
    (said,) = scene.logged("group.instance_id_taken", "first")
    assert said["instance_id"] == "worker-0"
    await second.ready()
    await scene.send(b"user:a", b"1")
    await until(lambda: _exactly(scene, 1))
    assert not second.has_ended()


async def test_a_second_worker_on_one_folder_ends_with_a_sentence_and_the_first_goes_on(
    scene: Scene,
) -> None:
    first = scene.worker()
    await first.ready()
    second = scene.worker(CARTSTREAM_GROUP_INSTANCE_ID="another")
    assert await asyncio.to_thread(second.wait) == EXIT_RESTART
    assert "belongs to another process" in second.log.read_text()
    await scene.send(b"user:a", b"1")
    await until(lambda: _exactly(scene, 1))
    assert await first.stop() == 0


async def test_a_worker_whose_folder_cannot_be_written_ends_with_a_sentence(scene: Scene) -> None:
    worker = scene.worker(CARTSTREAM_DATADIR="/proc/cartstream")
    assert await asyncio.to_thread(worker.wait) == 1
    assert "CARTSTREAM_DATADIR must be a folder" in worker.tail.splitlines()[-1]


async def test_sigterm_before_it_is_ready_ends_it_at_once(scene: Scene) -> None:
    worker = scene.worker()
    await until(lambda: bool(scene.logged("process.starting")))
    assert await worker.stop() == 0


async def test_sigterm_during_a_start_that_does_not_end_ends_it_at_once(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="endless-start")
    await until(lambda: bool(scene.logged("replay.endless")))
    assert await scene.members() != []
    assert await worker.stop() == 0
    assert await scene.members() == []


async def test_a_recovery_that_the_broker_does_not_answer_ends_the_process(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="unanswered-seek", BROKER_REQUEST_TIMEOUT="11")
    assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
    assert scene.logged("recovery.ended")


async def test_a_recovery_that_is_cancelled_begins_anew(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="cancelled-once")
    await worker.ready()
    assert len(scene.logged("recovery.begins_anew")) == 1
    assert len(scene.logged("process.starting")) == 1


async def test_a_recovery_that_is_cancelled_ends_the_process(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="cancelled-replay")
    assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
    assert scene.logged("recovery.ended")


async def test_a_stop_that_does_not_end_is_ended(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="endless-stop", CARTSTREAM_STOP_TIMEOUT_S="2")
    await worker.ready()
    assert await worker.stop() == EXIT_RESTART
    assert scene.logged("process.stop_timed_out")


async def test_a_stop_while_kafka_is_gone_ends_in_time_and_what_is_not_finished_comes_again(
    stack: EmbeddedStack, tmp_path: Path
) -> None:
    await asyncio.to_thread(stack.ensure, KAFKA)
    with closing(Scene(stack.urls.kafka_bootstrap, tmp_path)) as scene:
        await make_topics(scene.bootstrap, scene.source, scene.changelog)
        load = Load(scene.bootstrap, scene.source, 1000)
        loading = asyncio.create_task(load.run())
        worker = scene.worker(CARTSTREAM_STOP_TIMEOUT_S="2")
        await worker.ready()
        await until(lambda: _more_than(scene, 500))
        with frozen(stack, KAFKA):
            code = await worker.stop()
        load.stop()
        await loading
        assert code in {0, EXIT_RESTART}
        second = scene.worker()
        await second.ready()
        await drained(scene.bootstrap, scene.source, scene.group, second)
        assert await second.stop() == 0
        assert await lost_in_changelog(scene.bootstrap, scene.changelog, load.sent) == 0


async def test_a_refused_changelog_record_ends_the_process_before_its_offset_is_committed(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    with closing(Scene(kafka_bootstrap, tmp_path)) as scene:
        await make_topics(kafka_bootstrap, scene.source, scene.changelog, max_message_bytes=SMALL)
        worker = scene.worker()
        await worker.ready()
        await scene.send(b"user:small", b"1")
        await until(lambda: _exactly(scene, 1))
        await scene.send(b"user:" + b"x" * SMALL, b"1")
        assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
        assert scene.logged("changelog.send_failed")
        assert await scene.committed() == 1


async def test_a_body_that_raises_ends_the_process_before_its_offset_is_committed(scene: Scene) -> None:
    worker = scene.worker()
    await worker.ready()
    await scene.send(b"user:a", b"not a number")
    assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
    assert scene.logged("agent.failed")
    assert await scene.committed() == 0


async def test_a_partition_that_does_not_move_ends_the_process(scene: Scene) -> None:
    worker = scene.worker(KILL_LOOP_FAULT="stuck", CARTSTREAM_STALL_AFTER_S="3")
    await worker.ready()
    await scene.send(b"user:a", b"1")
    assert await asyncio.to_thread(worker.wait) == EXIT_RESTART
    assert scene.logged("partition.stalled")


async def test_a_frozen_worker_that_wakes_after_its_partitions_moved_on_ends_and_nothing_is_lost(
    scene: Scene,
) -> None:
    load = Load(scene.bootstrap, scene.source, 500)
    loading = asyncio.create_task(load.run())
    session = {"CARTSTREAM_SESSION_TIMEOUT_S": "6"}
    frozen, heir = scene.worker("frozen", **session), scene.worker("heir", **session)
    await frozen.ready()
    await heir.ready()
    await until(lambda: _more_than(scene, 500))
    # It may have had all of them before, until the other one came.
    before = len(scene.logged("table.replayed", "heir"))
    frozen.send(signal.SIGSTOP)
    await until(
        lambda: any(each["partitions"] == 8 for each in scene.logged("table.replayed", "heir")[before:])
    )
    load.stop()
    await loading
    await drained(scene.bootstrap, scene.source, scene.group, heir)
    frozen.send(signal.SIGCONT)
    assert await asyncio.to_thread(frozen.wait) == EXIT_RESTART
    assert await heir.stop() == 0
    assert await lost_in_changelog(scene.bootstrap, scene.changelog, Counter(load.sent)) == 0


async def test_what_a_frozen_worker_wrote_last_is_answered_by_one_that_stops(scene: Scene) -> None:
    key, older = b"user:a", msgspec.json.encode(Count(1, 0))
    worker = scene.worker()
    await worker.ready()
    for number in (b"1", b"2"):
        await scene.send(key, number)
    await until(lambda: _exactly(scene, 2))
    async with AIOKafkaProducer(bootstrap_servers=scene.bootstrap, acks="all") as producer:
        await producer.send_and_wait(scene.changelog, older, key=key, partition=right_partition(key))
    assert await worker.stop() == 0
    assert await lost_in_changelog(scene.bootstrap, scene.changelog, Counter({key: 2})) == 0


async def _more_than(scene: Scene, count: int) -> bool:
    return await scene.committed() > count


async def _exactly(scene: Scene, count: int) -> bool:
    return await scene.committed() == count
