"""A sink looks at its topics before it starts: what does not fit is a sentence."""

import asyncio
from pathlib import Path

import pytest

from runtime.settings import KafkaSettings
from tests.support.processes import Process
from topics.registry import PARTITIONS


@pytest.mark.parametrize("name", ["postgres", "redis", "mail", "history"])
async def test_topics_with_another_number_of_partitions_stop_the_start(
    name: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    sink = Process(
        name,
        ["-m", "cli", "sinks", name],
        {
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "CARTSTREAM_PARTITIONS": str(PARTITIONS // 2),
            "CARTSTREAM_SMTP_HOST": "127.0.0.1",
        },
        tmp_path,
    )
    try:
        sink.launch()
        assert await asyncio.to_thread(sink.wait) == 1
        assert f"cartstream sinks {name}: " in sink.tail
        assert "partitions" in sink.tail
        assert "Traceback" not in sink.tail
    finally:
        sink.kill()
