"""Why Kafka cannot be used, in words; brokers that answer are in tests/secure/."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from devstack.free_ports import free_ports
from runtime.kafka.causes import cause_of, why_unusable
from runtime.settings import KafkaSettings

HOST = "127.0.0.1"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """The address of a server that is no broker."""
    server = await asyncio.start_server(serve, HOST)
    async with server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def answer_in_the_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_port_without_a_server_may_have_one_later() -> None:
    (port,) = free_ports(1)
    found = await why_unusable(KafkaSettings(kafka_bootstrap=f"{HOST}:{port}"))
    assert found == (f"{HOST}:{port}: nothing listens there", False)


async def test_a_broker_that_closes_the_connection_may_want_what_the_client_lacks() -> None:
    async with serving(close) as address:
        plain = await why_unusable(KafkaSettings(kafka_bootstrap=address))
        over_tls = await why_unusable(KafkaSettings(kafka_bootstrap=address, kafka_tls=True))
    assert plain is not None
    assert not plain.misconfigured
    assert "before it answered: it starts or stops, or wants TLS" in plain.text
    assert "TLS (CARTSTREAM_KAFKA_TLS) or SASL (CARTSTREAM_KAFKA_SASL_MECHANISM)" in plain.text
    assert over_tls is not None
    assert not over_tls.misconfigured
    assert "closed the connection before it answered" in over_tls.text


async def test_tls_to_a_port_without_it_is_a_wrong_setting() -> None:
    async with serving(answer_in_the_clear) as address:
        found = await why_unusable(KafkaSettings(kafka_bootstrap=address, kafka_tls=True))
    assert found == (
        f"{address}: it speaks no TLS there: unset CARTSTREAM_KAFKA_TLS, or name another port",
        True,
    )


async def test_of_several_causes_the_one_that_somebody_has_to_remove_is_told() -> None:
    (port,) = free_ports(1)
    async with serving(answer_in_the_clear) as address:
        settings = KafkaSettings(kafka_bootstrap=f"{HOST}:{port},{address}", kafka_tls=True)
        found = await why_unusable(settings)
    assert found is not None
    assert found.misconfigured
    assert found.text.startswith(f"{address}: ")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TopicAuthorizationFailedError("carts"), "is not authorised for topic carts"),
        (GroupAuthorizationFailedError("cartstream-mail"), "is not authorised for group cartstream-mail"),
    ],
)
def test_a_missing_right_is_told_with_whom_it_lacks(error: KafkaError, told: str) -> None:
    settings = KafkaSettings(
        kafka_sasl_mechanism="PLAIN", kafka_sasl_username="shop", kafka_sasl_password="s3cret"
    )
    found = cause_of(error, settings)
    assert found.misconfigured
    assert found.text == f"the principal User:shop {told}: see `cartstream topics acls`"


def test_the_innermost_error_counts() -> None:
    error = KafkaConnectionError("closed")
    error.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert")
    error.__cause__.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    found = cause_of(error, KafkaSettings())
    assert found.misconfigured
    assert "CARTSTREAM_KAFKA_TLS_CERT" in found.text
