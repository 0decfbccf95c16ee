"""A whole shop behind a gateway in production mode, for clients of the product in other languages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import MAILBOX, REDIS
from tests.clients import node_package
from tests.clients.controls import controlled
from tests.demo.browser import whole_stack
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.production import PRODUCTION, SECRET

ABSENT = {"gateway", "sink-mail", MAILBOX}
"""Of what `make run` starts: the gateway is one in production mode, and nobody reads mails."""


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the TypeScript client, built, with its tests."""
    if not node_package.has_tools():
        pytest.skip(node_package.MISSING)
    node_package.install()
    node_package.npm("run", "build")
    node_package.npm("run", "build:test")
    return node_package.FOLDER


@pytest.fixture(scope="session")
def shop_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Servers, sample products, agents, sinks and jobs."""
    with whole_stack(tmp_path_factory.mktemp("shop"), ABSENT) as stack:
        yield stack


@pytest.fixture(scope="session")
def shop_origin() -> str:
    """The origin of pages that may read what the gateway answers; nothing is there yet."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="session")
def shop_gateway(
    shop_stack: EmbeddedStack, shop_origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway in production mode. A test that kills it starts it again."""
    environment = {
        **shop_stack.urls.environment(),
        **INTERNAL,
        **PRODUCTION,
        "CARTSTREAM_CORS_ORIGINS": shop_origin,
    }
    gateway = GatewayProcess(environment, tmp_path_factory.mktemp("gateway"))
    gateway.start()
    yield gateway
    gateway.kill()


@pytest.fixture(scope="session")
def shop(package: Path, shop_stack: EmbeddedStack, shop_gateway: GatewayProcess) -> Iterator[dict[str, str]]:
    """The variables by which the client's tests find the gateway, and what may be done to it."""
    assert package.is_dir()
    actions = {
        "gateway/kill": shop_gateway.kill,
        "gateway/start": shop_gateway.start,
        "redis/freeze": lambda: shop_stack.component(REDIS).pause(),
        "redis/thaw": lambda: shop_stack.component(REDIS).resume(),
    }
    with controlled(actions) as url:
        yield {
            "CARTSTREAM_TEST_GATEWAY": shop_gateway.url,
            "CARTSTREAM_TEST_CONTROLS": url,
            "CARTSTREAM_TEST_JWT_SECRET": SECRET,
        }
