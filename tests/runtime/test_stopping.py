"""Every process ends when it is told to, while Kafka answers nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from runtime.failstop import EXIT_RESTART
from tests.support.outages import frozen
from tests.support.processes import INTERNAL, AgentProcess
from tests.support.servers import Urls, prepared_embedded

pytestmark = pytest.mark.drill

AGENTS = (
    ("streams", "compaction"),
    ("streams", "merges"),
    ("sinks", "postgres"),
    ("sinks", "redis"),
    ("sinks", "mail"),
    ("sinks", "history"),
    ("jobs",),
    ("sinks", "postgres", "--workers", "2"),
)


@pytest.fixture(scope="module")
def breakable(stack: EmbeddedStack) -> Iterator[Urls]:
    """The embedded servers: the test freezes one of them."""
    with prepared_embedded(stack) as urls:
        yield urls


@pytest.mark.parametrize("command", AGENTS, ids=" ".join)
async def test_a_process_ends_while_kafka_is_frozen(
    command: tuple[str, ...], stack: EmbeddedStack, breakable: Urls, tmp_path: Path
) -> None:
    environment = {**breakable.environment(), **INTERNAL, "CARTSTREAM_STOP_TIMEOUT_S": "3"}
    agent = AgentProcess(command, environment, tmp_path)
    try:
        await agent.start()
        with frozen(stack, KAFKA):
            agent.send(signal.SIGTERM)
            assert await asyncio.to_thread(agent.wait) in {0, EXIT_RESTART}
    finally:
        agent.kill()
