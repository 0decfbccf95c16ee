"""Redis over TLS, for clients with a certificate only."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack.free_ports import free_ports
from store.redis import ChangeSubscriber, Layout, PipelinedClient, RedisSettings, StoreUnavailable
from tests.secure.certificates import Authority
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_subscriber import Heard, add
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until


class Secure(NamedTuple):
    """The server's URL without options, and files: the authority's certificate, a client's and its key."""

    url: str
    authority: Path
    certificate: Path
    key: Path

    @property
    def with_certificate(self) -> RedisSettings:
        """Everything that it takes."""
        return settings_of(
            f"{self.url}?ssl_ca_certs={self.authority}&ssl_certfile={self.certificate}&ssl_keyfile={self.key}"
        )


def settings_of(url: str) -> RedisSettings:
    """For this URL."""
    return RedisSettings(redis_url=url, redis_timeout_s=20, redis_connect_timeout_s=20)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server that takes only clients with a certificate of its authority."""
    folder = tmp_path_factory.mktemp("secure")
    authority = Authority(folder / "certificates")
    (certificate, key), client = authority.issue("redis"), authority.issue("client")
    (port,) = free_ports(1)
    server = RedisServer(
        folder,
        *("--tls-port", str(port), "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
    )
    server.start()
    yield Secure(f"rediss://127.0.0.1:{port}/0", authority.file, *client)
    server.kill()


async def test_a_client_with_a_certificate_changes_carts_and_hears_of_it(secure: Secure) -> None:
    heard = Heard()
    async with PipelinedClient(secure.with_certificate) as client:
        fixture = StoreFixture(client, Layout(1))
        await fixture.empty()
        subscriber = ChangeSubscriber(secure.with_certificate, fixture.layout, name="tls", patience_s=60)
        subscriber.start(heard)
        subscriber.follow(0)
        await until(lambda: heard.partitions, "subscribed")
        tag = await add(fixture, "user:secure", "op")
        await until(lambda: heard.changes == [("user:secure", tag)], "the change")
        await subscriber.close()


async def test_a_client_without_a_certificate_is_refused(secure: Secure) -> None:
    with pytest.raises(StoreUnavailable, match="no connection to Redis"):
        await PipelinedClient(settings_of(f"{secure.url}?ssl_ca_certs={secure.authority}")).connect()


async def test_a_server_of_an_unknown_authority_is_refused(secure: Secure) -> None:
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await PipelinedClient(settings_of(secure.url)).connect()
