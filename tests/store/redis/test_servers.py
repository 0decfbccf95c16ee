"""What CARTSTREAM_REDIS_URL may say, and what is made of it."""

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from store.redis.servers import RESP_VERSION, Server, Servers, Topology


@pytest.mark.parametrize(
    ("url", "topology", "seeds"),
    [
        ("redis://127.0.0.1:6379/0", Topology.SINGLE, (Server("127.0.0.1", 6379),)),
        ("rediss://redis.example", Topology.SINGLE, (Server("redis.example", 6379),)),
        ("unix:///run/redis.sock?db=2", Topology.SINGLE, (Server("", 0, "/run/redis.sock"),)),
        ("redis+cluster://a:7000,[::1]:7001", Topology.CLUSTER, (Server("a", 7000), Server("::1", 7001))),
        ("rediss+sentinel://a,b:2/carts/3", Topology.SENTINEL, (Server("a", 26_379), Server("b", 2))),
    ],
)
def test_a_url_says_who_has_the_keys(url: str, topology: Topology, seeds: tuple[Server, ...]) -> None:
    servers = Servers.of(url)
    assert (servers.topology, servers.seeds) == (topology, seeds)
    assert servers.service == ("carts" if topology is Topology.SENTINEL else "")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://redis", "redis://"),
        ("redis://redis/carts", "no database"),
        ("redis://a,b/0", "redis\\+cluster:// or redis\\+sentinel://"),
        ("redis+sentinel://a,b", "names no master"),
        ("redis+cluster://a/1", "database 0"),
        ("redis+moon://a", "moon"),
        ("redis://redis?colour=red", "colour"),
    ],
)
def test_a_url_that_says_nothing_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Servers.of(url)


def test_a_connection_has_the_credentials_and_the_database() -> None:
    for url in (
        "redis://user:a%20secret%2Fword@redis/3",
        "redis+sentinel://user:a%20secret%2Fword@s/carts/3",
    ):
        made = Servers.of(url).connection(Server("redis", 6379))
        assert (made.username, made.password, made.db) == ("user", "a secret/word", 3)
        assert made.protocol == RESP_VERSION


def test_a_connection_has_the_client_certificate() -> None:
    url = "rediss+cluster://a,b?ssl_ca_certs=/ca.crt&ssl_certfile=/me.crt&ssl_keyfile=/me.key"
    made = Servers.of(url).connection(Server("a", 1))
    assert isinstance(made, SSLConnection)
    assert (made.ca_certs, made.certfile, made.keyfile) == ("/ca.crt", "/me.crt", "/me.key")


def test_a_socket_has_a_password_too() -> None:
    servers = Servers.of("unix://:secret@/run/redis.sock?db=2")
    made = servers.connection(servers.seeds[0])
    assert isinstance(made, UnixDomainSocketConnection)
    assert (made.path, made.password, made.db) == ("/run/redis.sock", "secret", 2)


def test_sentinels_may_have_other_credentials_and_share_the_authority() -> None:
    servers = Servers.of(
        "rediss+sentinel://:secret@s/carts?ssl_ca_certs=/ca.crt&sentinel_username=me&sentinel_password=other"
    )
    assert servers.options["password"] == "secret"
    assert servers.sentinel_options == {
        "ssl": True,
        "ssl_ca_certs": "/ca.crt",
        "username": "me",
        "password": "other",
    }
