"""The Flink SQL to copy says how many pieces of each product are in carts, and takes back what has gone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from runtime.settings import KafkaSettings
from tests.carts.histories import add, change, put, state_of
from tests.examples.maven import jars_of
from tests.support.processes import Process
from tests.support.topics import make_topics, records_of
from tests.support.waiting import until
from topics.codec import encode_cart
from topics.headers import cart_headers, tombstone_headers
from topics.partitioner import partition_of
from topics.records import cart_record
from topics.registry import CARTS, PARTITIONS

JOB = Path(__file__).parents[2] / "examples" / "consumers" / "flink" / "demand.sql"
FOLDER = Path(__file__).with_name("flink")
# Flink looks into the classes of Java itself.
OPENED = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "time", "net", "nio")]

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("javac"), reason="a JDK runs Flink here; its own runtime is another"),
]


@pytest.fixture
def job(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """The job on the test's broker, in a process of its own."""
    text = JOB.read_text().replace("127.0.0.1:9092", kafka.kafka_bootstrap)
    (tmp_path / "demand.sql").write_text(text)
    program = [str(FOLDER / "RunSql.java"), str(tmp_path / "demand.sql")]
    command = ["-Xmx768m", *OPENED, "-cp", f"{jars_of('flink')}/*", *program]
    process = Process("flink", command, {}, tmp_path, program="java")
    yield process
    process.kill()


async def test_it_says_what_is_in_carts_and_takes_back_what_has_gone(
    job: Process, kafka: KafkaSettings
) -> None:
    mark = uuid4().hex[:8]
    tea, jam = f"tea-{mark}", f"jam-{mark}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.kafka_bootstrap)
    await admin.start()
    await make_topics(admin, NewTopic("demand-by-product", 4, 1))
    await admin.close()
    first = state_of(change(2, "a", add(tea, 2), add(jam, 1)))
    second = state_of(change(2, "a", add(tea, 5)), change(4, "b", put(tea, 3)))
    emptied = state_of(change(2, "a", add(tea, 2), add(jam, 1)), change(4, "b", put(jam, 0)))

    async def demand() -> dict[str, tuple[int, int]]:
        """By product: pieces and carts, as the topic has them."""
        assert not job.has_ended(), job.tail
        found: dict[str, tuple[int, int]] = {}
        for record in await records_of(kafka, "demand-by-product", range(4)):
            found.pop(record.key.decode(), None)
            if record.value is not None:
                row = json.loads(record.value)
                found[record.key.decode()] = row["pieces"], row["carts"]
        return found

    async def says(**expected: tuple[int, int]) -> None:
        wanted = {f"{name}-{mark}": row for name, row in expected.items()}

        async def is_so() -> bool:
            found = {product: row for product, row in (await demand()).items() if product.endswith(mark)}
            return found == wanted

        await until(is_so, f"{wanted}", within_s=300, every_s=1)

    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:

        async def send(cart_id: str, state: object) -> None:
            key = cart_id.encode()
            value = None if state is None else encode_cart(cart_record(cart_id, state))  # type: ignore[arg-type]
            version = second.version if state is None else state.version  # type: ignore[attr-defined]
            headers = (tombstone_headers if state is None else cart_headers)(cart_id, version, None)
            place = partition_of(key, PARTITIONS)
            await producer.send_and_wait(CARTS.name, value, key, place, headers=headers)

        await send(f"user:{mark}-1", first)
        await send(f"user:{mark}-2", second)
        job.launch()
        await says(tea=(5, 2), jam=(1, 1))
        await send(f"user:{mark}-1", emptied)
        await says(tea=(5, 2))
        await send(f"user:{mark}-2", None)
        await says(tea=(2, 1))
