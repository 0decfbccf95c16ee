"""Servers of the folder: Kafka with TLS, users, ACLs and the topics; Redis and Postgres with TLS."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.ops.command_line import CommandLine
from tests.secure.secure_broker import PRINCIPAL, ROOT, SecureBroker
from tests.secure.secure_servers import SecurePostgres, SecureRedis, require_installed
from tests.support.pgbouncer import private_folder
from tests.support.waiting import until


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """The broker. With the product's own commands ROOT has made the ACLs, and the role `admin` the topics."""
    found = SecureBroker(tmp_path_factory.mktemp("secure"))
    try:
        found.start()
        asyncio.run(_prepare(found))
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def secure_redis(broker: SecureBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRedis]:
    """A Redis that speaks TLS only."""
    require_installed()
    found = SecureRedis(broker.authority, tmp_path_factory.mktemp("redis"))
    with found.at_work():
        yield found


@pytest.fixture(scope="session")
def secure_postgres(broker: SecureBroker) -> Iterator[SecurePostgres]:
    """A Postgres that speaks TLS only."""
    require_installed()
    with private_folder() as folder:
        found = SecurePostgres(broker.authority, folder)
        with found.at_work():
            yield found


async def _prepare(broker: SecureBroker) -> None:
    # External products: the gateway has all the rights that it ever has.
    owners = {"CARTSTREAM_PRODUCTS_OWNER": "external", "CARTSTREAM_ORDERS_OWNER": "external"}
    granted = await CommandLine(broker.environment(ROOT) | owners).run(
        "topics", "acls", "--principal", PRINCIPAL, "--apply"
    )
    assert granted.status == 0, granted.errors
    admin = CommandLine(broker.environment("cartstream-admin"))

    async def applied() -> bool:
        return (await admin.run("topics", "apply", "--allow-single")).status == 0

    # The controller has the ACLs at once, the broker a moment later.
    await until(applied, "the topics are there", every_s=0.5)
