"""Kills a worker with -9 again and again under load, then looks for every record that was acknowledged.

    python -m tests.delivery.kill_loop --bootstrap 127.0.0.1:9092 --worker table --kills 40

Produce, fault, consume, validate: a producer sends numbered records of unique keys and of a few keys that
change all the time; the worker is killed at random moments; when everything has been drained each number
must have been processed. After each kill the local store of a table must hold exactly what the changelog has
below the store's position. `--without` takes a guard away, `--fault` makes the fault frequent that it is for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from delivery.stores import LocalStore
from runtime.failstop import EXIT_RESTART
from runtime.settings import KafkaSettings
from tests.delivery.workers import PARTITIONS, decode
from tests.support import topics
from tests.support.processes import Process
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.partitioner import partition_of

READY_WITHIN_S = 180.0
DRAINED_WITHIN_S = 600.0


@dataclass(frozen=True)
class Experiment:
    """What to run: the worker, how often it dies, the guard missing and the fault provoked."""

    worker: str = "table"
    kills: int = 40
    rate: int = 2000
    """Records a second."""
    without: str = ""
    fault: str = ""
    seed: int = 0


@dataclass
class Outcome:
    """What it showed. `lost`: records the broker had acknowledged and nobody processed.

    `unlike_the_log`: keys of which the local store did not hold what it should, over all kills.
    """

    kills: int = 0
    produced: int = 0
    keys: int = 0
    lost: int = 0
    unlike_the_log: int = 0
    gaps: int = 0
    redeliveries: int = 0
    sent_again: int = 0
    restarts: int = 0
    """Workers that ended themselves with code 75, as on a machine that starves them for a session's time."""
    seconds: float = 0.0
    clean_exit: int | None = None

    def add_counters(self, folder: Path) -> None:
        """Add what the workers have counted of themselves."""
        for path in folder.glob("counters-*.json"):
            counts = json.loads(path.read_text())
            self.gaps += int(counts["gaps"])
            self.redeliveries += int(counts["redeliveries"])
            self.sent_again += int(counts["sent_again"])

    def count_restart(self, ended: EndedItselfError) -> None:
        """Start again what asks for it, as a supervisor would; raise anything else."""
        if ended.code != EXIT_RESTART:
            raise ended
        self.restarts += 1


class Load:
    """Produces numbered records at a steady rate and remembers the newest number of every key."""

    def __init__(self, bootstrap: str, topic: str, rate: int) -> None:
        self._bootstrap, self._topic, self._rate = bootstrap, topic, rate
        self.sent: Counter[bytes] = Counter()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Produce until `stop`."""
        hot = [f"user:hot-{i}".encode() for i in range(100)]
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=5) as producer:
            serial = 0
            while not self._stop.is_set():
                sends = []
                for _ in range(self._rate // 20):
                    serial += 1
                    key = random.choice(hot) if serial % 2 else f"guest:{serial}".encode()
                    self.sent[key] += 1
                    sends.append(
                        await producer.send(
                            self._topic,
                            str(self.sent[key]).encode(),
                            key=key,
                            partition=partition_of(key, PARTITIONS),
                        )
                    )
                await asyncio.gather(*sends, asyncio.sleep(0.05))

    def stop(self) -> None:
        """Let `run` return after the records under way are acknowledged."""
        self._stop.set()


class EndedItselfError(RuntimeError):
    """A worker ended that nobody had killed or stopped."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(f"exit code {code}: see {log}")
        self.code = code


class Worker(Process):
    """The process under test, launched when it is made."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        super().__init__("worker", ["-m", "tests.delivery.workers", *arguments], environment, folder)
        self._folder = folder
        self.launch()

    async def ready(self) -> None:
        """Wait until it may process. Raises EndedItselfError if it ends instead."""
        await until(self._may_process, "worker ready", READY_WITHIN_S, 0.02)

    async def processing(self) -> None:
        """Wait until it has processed something. Raises EndedItselfError if it ends instead."""
        await self.ready()
        await until(self._has_processed, "worker processing", READY_WITHIN_S, 0.02)

    def check(self) -> None:
        """Raise EndedItselfError if it has ended."""
        if (code := self.running.poll()) is not None:
            raise EndedItselfError(code, str(self.log))

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.send(signal.SIGTERM)
        return await asyncio.to_thread(self.wait)

    def _may_process(self) -> bool:
        self.check()
        return self.ready_file.exists()

    def _has_processed(self) -> bool:
        self.check()
        counters = self._folder / f"counters-{self.running.pid}.json"
        return counters.exists() and bool(json.loads(counters.read_text())["processed"])


async def kill_loop(bootstrap: str, experiment: Experiment) -> Outcome:
    """Run the experiment on the broker given."""
    started = time.monotonic()
    outcome = Outcome()
    folder = Path(tempfile.mkdtemp(prefix=f"kill-loop-{experiment.worker}-"))
    run = uuid.uuid4().hex[:8]
    source, changelog = f"numbers-{run}", f"counts-{run}"
    await make_topics(bootstrap, source, changelog)
    target = changelog if experiment.worker == "table" else str(folder / "sink.sqlite")
    arguments = [experiment.worker, source, target, str(folder)]
    start = partial(Worker, arguments, _environment(bootstrap, experiment, folder), folder)
    load = Load(bootstrap, source, experiment.rate)
    loading = asyncio.create_task(load.run())

    async def look_into_the_store() -> None:
        if experiment.worker == "table":
            outcome.unlike_the_log += await unlike_the_log(bootstrap, changelog, folder / "data")

    try:
        await _kill(start, experiment, outcome, load, look_into_the_store)
        load.stop()
        await loading
        group = f"group-{changelog}" if experiment.worker == "table" else f"group-{source}-sink"
        await _drain(start, lambda last: drained(bootstrap, source, group, last), outcome)
    finally:
        loading.cancel()
    outcome.produced, outcome.keys = load.sent.total(), len(load.sent)
    outcome.lost = (
        await lost_in_changelog(bootstrap, changelog, load.sent)
        if experiment.worker == "table"
        else _lost_in_sink(Path(target), load.sent)
    )
    outcome.add_counters(folder)
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


async def _kill(
    start: Callable[[], Worker],
    experiment: Experiment,
    outcome: Outcome,
    load: Load,
    look: Callable[[], Awaitable[None]],
) -> None:
    """Start and kill the worker as often as the experiment says, and look at what it has left."""
    moments = random.Random(experiment.seed)
    while outcome.kills < experiment.kills:
        victim = start()
        try:
            # One in ten dies on its way up.
            if moments.random() < 0.1:
                await asyncio.sleep(moments.uniform(0.5, 3.0))
            else:
                await victim.processing()
                await asyncio.sleep(moments.uniform(0.3, 2.0))
            outcome.kills += 1
        except EndedItselfError as ended:
            outcome.count_restart(ended)
        finally:
            victim.kill()
        await look()
        if outcome.kills % 5 == 0:
            print(f"kills={outcome.kills} produced={load.sent.total()}", file=sys.stderr)  # noqa: T201


async def _drain(
    start: Callable[[], Worker], emptied: Callable[[Worker], Awaitable[None]], outcome: Outcome
) -> None:
    """Let a last worker process what is left, then stop it gracefully."""
    while outcome.clean_exit is None:
        last = start()
        try:
            await last.ready()
            await emptied(last)
            outcome.clean_exit = await last.stop()
        except EndedItselfError as ended:
            outcome.count_restart(ended)
        finally:
            last.kill()


def _environment(bootstrap: str, experiment: Experiment, folder: Path) -> dict[str, str]:
    return {
        "CARTSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "CARTSTREAM_DATADIR": str(folder / "data"),
        "CARTSTREAM_GROUP_INSTANCE_ID": "worker-0",
        "CARTSTREAM_COMMIT_INTERVAL_S": "0.1",
        "KILL_LOOP_WITHOUT": experiment.without,
        "KILL_LOOP_FAULT": experiment.fault,
    }


@asynccontextmanager
async def administration(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, started and closed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_topics(bootstrap: str, source: str, changelog: str, max_message_bytes: int = 1 << 20) -> None:
    """The two topics of an experiment; the changelog is compacted and refuses larger records."""
    compacted = {"cleanup.policy": "compact", "max.message.bytes": str(max_message_bytes)}
    async with administration(bootstrap) as admin:
        await topics.make_topics(
            admin,
            NewTopic(source, PARTITIONS, 1),
            NewTopic(changelog, PARTITIONS, 1, topic_configs=compacted),
        )


async def drained(bootstrap: str, topic: str, group: str, worker: Worker) -> None:
    """Wait until the group has committed the end of every partition.

    Raises EndedItselfError if the worker ends, TimeoutError after ten minutes.
    """
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    deadline = time.monotonic() + DRAINED_WITHIN_S
    async with (
        AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer,
        administration(bootstrap) as admin,
    ):
        while True:
            ends = await consumer.end_offsets(tps)
            committed = await admin.list_consumer_group_offsets(group)
            behind = {
                tp: end
                for tp, end in ends.items()
                if end and (tp not in committed or committed[tp].offset < end)
            }
            if not behind:
                return
            worker.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not drained: {behind}, committed {committed}")
            await asyncio.sleep(0.1)


async def lost_in_changelog(bootstrap: str, changelog: str, sent: Counter[bytes]) -> int:
    """How many of the numbers sent are not accounted for in the changelog's newest states."""
    records = await records_of(KafkaSettings(kafka_bootstrap=bootstrap), changelog, range(PARTITIONS))
    states = {record.key: record.value for record in records}
    lost = 0
    for key, newest in sent.items():
        count = decode(states[key]) if key in states else None
        lost += newest if count is None else newest - count.newest + count.missing
    return lost


async def unlike_the_log(bootstrap: str, changelog: str, datadir: Path) -> int:
    """Of how many keys the local store holds something else than the changelog below the store's position.

    The worker that had the store is gone, and nobody else writes to the changelog.
    """
    if not (folder := datadir / "tables" / f"group-{changelog}-{changelog}").exists():
        return 0
    store = LocalStore(folder, cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    store.open()
    with closing(store):
        ends = {partition: position.offset for partition, position in store.positions().items()}
        held = {item for partition in ends for item in store.items(partition)}
    records = await records_of(KafkaSettings(kafka_bootstrap=bootstrap), changelog, range(PARTITIONS))
    wanted = {each.key: each.value for each in records if each.offset < ends.get(each.partition, 0)}
    return len({key for key, _ in held ^ set(wanted.items())})


def _lost_in_sink(database: Path, sent: Counter[bytes]) -> int:
    with closing(sqlite3.connect(database)) as connection:
        seen = set(connection.execute("SELECT key, number FROM seen"))
    return sum((key, number) not in seen for key, newest in sent.items() for number in range(1, newest + 1))


def main() -> None:
    """Run one experiment and print its outcome as JSON; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--worker", choices=("table", "sink"), default="table")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--rate", type=int, default=2000, help="records a second")
    parser.add_argument("--without", choices=("", "contiguity", "acknowledgement", "overlay"), default="")
    parser.add_argument("--fault", choices=("", "lost-hand-over", "slow-changelog"), default="")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    bootstrap, experiment = options.pop("bootstrap"), Experiment(**options)
    # SIGTERM, too, must not leave a worker behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = asyncio.run(kill_loop(bootstrap, experiment))
    print(json.dumps(asdict(experiment) | asdict(outcome)))  # noqa: T201
    sys.exit(1 if outcome.lost or outcome.unlike_the_log else 0)


if __name__ == "__main__":
    main()
