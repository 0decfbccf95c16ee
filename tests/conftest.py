"""Real servers for the tests: one stack a session, started piece by piece as tests ask for it.

By default Valkey, Postgres and Kafka run as local processes in a temporary folder. CARTSTREAM_TEST_REDIS_URL,
CARTSTREAM_TEST_POSTGRES_URL and CARTSTREAM_TEST_KAFKA_BOOTSTRAP name servers to use instead;
CARTSTREAM_TEST_DOCKER=1 takes them from containers.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from runtime.settings import KafkaSettings
from tests.support.databases import empty_database, migrated_database
from tests.support.processes import PRICED_BY_CALLER
from tests.support.redis_servers import emptied
from tests.support.servers import Servers, are_embedded, with_topics

# No catalogue in what tests start: who adds to a cart states the price. Tests of the catalogue say otherwise.
os.environ |= PRICED_BY_CALLER
# Property tests judge values, never time: a busy machine fails nothing. Their examples are the same each
# time, so that what fails is what has changed.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# `make drills` plays more of them, others each time.
settings.register_profile(
    "thorough",
    settings.get_profile("steady"),
    derandomize=False,
    database=settings.get_profile("default").database,
    max_examples=600,
)
settings.load_profile("steady")


FOLDER = Path(__file__).parent
LONGEST = (
    "gateway/test_outages.py",
    "delivery/test_worker.py",
    "mail/test_mail_sink.py",
    "faults/test_faults.py",
    "merges/test_killed.py",
    "delivery/test_kill_loop.py",
    "faults/test_several_workers.py",
    "streams/test_compaction.py",
    "checkout/test_killed.py",
    "store/redis/test_put_equals_protocol.py",
    "gateway/test_live_outages.py",
    "delivery/test_kill_loop_guards.py",
    "store/redis/test_change_equals_fold.py",
    "gateway/test_workers.py",
    "model/test_model.py",
    "cli/test_up.py",
    "sinks/test_postgres_sink.py",
    "merges/test_chains.py",
    "demo/test_demo_shop.py",
    "sinks/test_restore.py",
    "merges/test_merge.py",
    "jobs/test_anti_entropy.py",
    "jobs/test_erasure_later.py",
)
"""The files that take longest, longest first, as `pytest --durations=0` shows them."""


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """The session's embedded stack, nothing started until `ensure("redis")`; `component(…)` harms it.

    A test that breaks a component mends it before it ends. Tests that need servers of their own make an
    EmbeddedStack in their tmp_path.
    """
    folder = Path(tempfile.mkdtemp(prefix="cartstream-tests-"))
    embedded = EmbeddedStack(folder)
    embedded.open()
    try:
        yield embedded
    finally:
        embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(stack: EmbeddedStack) -> Iterator[Servers]:
    """The session's servers: given by URL, in containers, or embedded."""
    with ExitStack() as cleanup:
        yield Servers(stack, cleanup)


@pytest.fixture(scope="session")
def kafka_bootstrap(servers: Servers) -> str:
    """`host:port` of a broker that acknowledges records. Topics stay: use names of your own."""
    return servers.url(KAFKA)


@pytest.fixture(scope="session")
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """The broker with the product's topics. They keep what other tests wrote: use keys of your own."""
    return with_topics(kafka_bootstrap)


@pytest.fixture
async def redis_url(servers: Servers) -> str:
    """A Redis that is empty: every test starts from FLUSHALL, because the product's keys are global."""
    return emptied(await asyncio.to_thread(servers.url, REDIS))


@pytest.fixture
def postgres_url(servers: Servers) -> Iterator[str]:
    """A database of the test's own, empty, gone afterwards."""
    with empty_database(servers.url(POSTGRES)) as url:
        yield url


@pytest.fixture
def database(servers: Servers) -> Iterator[str]:
    """A database of the test's own with this version's schema. Postgres may be killed meanwhile."""
    with migrated_database(servers.url(POSTGRES)) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: no process is left alone with one of them when all others are done.

    What breaks a server of the session is skipped where that is not an embedded one.
    """
    items.sort(
        key=lambda item: LONGEST.index(found) if (found := _file_of(item)) in LONGEST else len(LONGEST)
    )
    if are_embedded():
        return
    for item in items:
        if item.get_closest_marker("embedded"):
            item.add_marker(pytest.mark.skip("breaks a server: only an embedded one"))


def _file_of(item: pytest.Item) -> str:
    return item.path.relative_to(FOLDER).as_posix()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed (CARTSTREAM_FORBID_SKIPS=1, as in CI), a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CARTSTREAM_FORBID_SKIPS") != "1":
        return
    if skipped := len(reporter.stats.get("skipped", [])):
        reporter.write_line(
            f"{skipped} tests were skipped, and CARTSTREAM_FORBID_SKIPS=1 forbids it", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
