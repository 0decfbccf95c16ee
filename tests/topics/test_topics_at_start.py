"""Every process looks at its topics before it starts: what does not fit is a sentence."""

import asyncio
from pathlib import Path

import pytest

from devstack.free_ports import free_ports
from runtime.settings import KafkaSettings
from tests.support.processes import Process
from topics.registry import PARTITIONS

PROCESSES = (
    ("streams", "compaction"),
    ("streams", "merges"),
    ("sinks", "postgres"),
    ("sinks", "redis"),
    ("sinks", "mail"),
    ("sinks", "history"),
    ("jobs",),
    ("gateway",),
)


@pytest.mark.parametrize("command", PROCESSES, ids=" ".join)
async def test_topics_with_another_number_of_partitions_stop_the_start(
    command: tuple[str, ...], kafka: KafkaSettings, redis_url: str, tmp_path: Path
) -> None:
    process = Process(
        "-".join(command),
        ["-m", "cli", *command],
        {
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": redis_url,
            "CARTSTREAM_PARTITIONS": str(PARTITIONS // 2),
            "CARTSTREAM_SMTP_HOST": "127.0.0.1",
            "CARTSTREAM_GATEWAY_PORT": str(free_ports(1)[0]),
        },
        tmp_path,
    )
    try:
        process.launch()
        assert await asyncio.to_thread(process.wait) == 1
        assert f"cartstream {' '.join(command)}: " in process.tail
        assert "partitions" in process.tail
        assert "Traceback" not in process.tail
    finally:
        process.kill()
