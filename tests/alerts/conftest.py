"""One whole stack with a Prometheus, shoppers, and somebody on call, for all troubles in turn."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.files import targets_folder
from devstack.free_ports import free_ports
from devstack.settings import PORTS, StackSettings
from devstack.spec import RestartPolicy
from runtime.owners import OrdersOwner, ProductsOwner
from tests.alerts.prometheus import MISSING, Prometheus, prometheus
from tests.alerts.runbooks import OnCall, missing_programs, path_with_the_product
from tests.alerts.scene import Scene
from tests.alerts.shoppers import Shoppers

_UNITS: Final = {
    "kafka": "kafka",
    "redis": "redis",
    "postgresql": "postgres",
    "postfix": "mailbox",
    "cartstream-gateway": "gateway",
    "cartstream-jobs": "jobs",
    "cartstream-streams@compaction": "compaction",
    "cartstream-sinks@postgres": "sink-postgres",
    "cartstream-sinks@redis": "sink-redis",
    "cartstream-sinks@mail": "sink-mail",
}
"""What the units of systemd are called in the embedded stack."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The stack, watched, with load. A trouble that a test makes ends with it."""
    program = prometheus()
    if program is None:
        pytest.skip(MISSING)
    if missing := missing_programs():
        pytest.skip(f"runbooks are NOT tested: {', '.join(missing)} is missing")
    folder = tmp_path_factory.mktemp("alerts")
    with pytest.MonkeyPatch.context() as environment:
        # Instead of a minute.
        environment.setenv("CARTSTREAM_ANTI_ENTROPY_AFTER_S", "5")
        with (
            _stack(folder / "stack") as stack,
            Prometheus(program, folder / "prometheus", targets_folder(folder / "stack")) as watching,
            Shoppers(stack.urls.gateway),
        ):
            watching.until_ready()
            yield Scene(stack, watching, _on_call(stack), folder)


def _stack(folder: Path) -> EmbeddedStack:
    """What `make run` starts. What ends by itself is started again, as systemd does."""
    settings = StackSettings(
        products_owner=ProductsOwner.INTERNAL, orders_owner=OrdersOwner.INTERNAL
    ).with_ports(*free_ports(len(PORTS)))
    return EmbeddedStack(folder, settings, only=usual(settings), policy=RestartPolicy.ALWAYS)


def _on_call(stack: EmbeddedStack) -> OnCall:
    told = {
        **os.environ,
        **stack.urls.environment(),
        "CARTSTREAM_PRODUCTS_OWNER": "internal",
        "CARTSTREAM_ORDERS_OWNER": "internal",
        "GATEWAY": stack.urls.gateway,
        "PATH": path_with_the_product(os.environ["PATH"]),
    }
    return OnCall(told, {unit: partial(stack.restart, name) for unit, name in _UNITS.items()})
