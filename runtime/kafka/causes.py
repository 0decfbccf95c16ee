"""Why Kafka cannot be used, in words: aiokafka's own errors say only that no broker could be reached."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from runtime.kafka.tokens import TokenCommandFailed
from runtime.settings import KafkaSettings

_CONNECTED_WITHIN_S: Final = 5.0


class Cause(NamedTuple):
    """Why a broker cannot be used; `misconfigured`: only a change of settings or rights can help."""

    text: str
    misconfigured: bool = False


async def why_unusable(kafka: KafkaSettings) -> Cause | None:
    """Connect to every server of the settings: why it fails, if it fails for all of them.

    One that is misconfigured goes before others. None: a server can be used now.
    """
    servers = kafka.kafka_bootstrap.split(",")
    causes = await asyncio.gather(*(_why_unusable(kafka, server) for server in servers))
    found = [cause for cause in causes if cause is not None]
    if len(found) < len(servers):
        return None
    return next((cause for cause in found if cause.misconfigured), found[0])


async def _why_unusable(kafka: KafkaSettings, server: str) -> Cause | None:
    host, _, port = server.rpartition(":")
    try:
        options = kafka.client_options()
        del options["bootstrap_servers"]
        async with asyncio.timeout(_CONNECTED_WITHIN_S):
            connection = await create_conn(host.strip("[]"), int(port), **options)
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
    except Exception as error:  # noqa: BLE001  it is only put into words
        cause = cause_of(error, kafka)
    else:
        if metadata.brokers:
            return None
        # A token is refused in an answer that aiokafka takes for a yes; what is asked next gets nothing.
        cause = Cause(_not_authenticated(kafka), misconfigured=True)
    return cause._replace(text=f"{server}: {cause.text}")


def cause_of(error: BaseException, kafka: KafkaSettings) -> Cause:
    """What an error of a client means, and which setting to look at."""
    chain = list(_chain(error))
    for each in chain:
        for kind, misconfigured, words in _KNOWN:
            if isinstance(each, kind):
                return Cause(words(each, kafka), misconfigured)
    if any(isinstance(each, EOFError | ConnectionError | KafkaConnectionError) for each in chain):
        return Cause(_closed(kafka))
    return Cause(f"{type(error).__name__}: {error}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the innermost first."""
    if (below := error.__cause__ or error.__context__) is not None:
        yield from _chain(below)
    yield error


def who(kafka: KafkaSettings) -> str:
    """Whom the brokers take this process for, as far as the settings say."""
    if kafka.kafka_sasl_username:
        return f"the principal User:{kafka.kafka_sasl_username}"
    if kafka.kafka_sasl_token_command:
        return "the principal of the token"
    return "the principal of CARTSTREAM_KAFKA_TLS_CERT" if kafka.kafka_tls_cert else "an anonymous client"


def _not_authenticated(kafka: KafkaSettings) -> str:
    if kafka.kafka_sasl_token_command:
        return "the broker does not accept the token of CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND"
    return (
        f"the broker does not accept user {kafka.kafka_sasl_username} with this password: see "
        "CARTSTREAM_KAFKA_SASL_USERNAME and CARTSTREAM_KAFKA_SASL_PASSWORD"
    )


def _tls(error: Any, kafka: KafkaSettings) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = kafka.kafka_tls_ca or "the system's CAs, for CARTSTREAM_KAFKA_TLS_CA is not set"
        return f"the certificate of the broker is not accepted ({error.verify_message}); trusted is {trusted}"
    reason = (error.reason or "").upper()
    if "ALERT" in reason or "CERTIFICATE_REQUIRED" in reason:
        return (
            f"the broker refuses the client's certificate ({error.reason}): see CARTSTREAM_KAFKA_TLS_CERT "
            "and CARTSTREAM_KAFKA_TLS_KEY"
        )
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason or "PACKET_LENGTH" in reason:
        return "it speaks no TLS there: unset CARTSTREAM_KAFKA_TLS, or name another port"
    return f"TLS failed: {error}"


def _closed(kafka: KafkaSettings) -> str:
    """A broker closes the connection of a client that speaks another protocol than the port."""
    missing = []
    if not kafka.kafka_tls:
        missing.append("TLS (CARTSTREAM_KAFKA_TLS)")
    elif kafka.kafka_tls_cert is None:
        missing.append("a client certificate (CARTSTREAM_KAFKA_TLS_CERT)")
    if kafka.kafka_sasl_mechanism is None:
        missing.append("SASL (CARTSTREAM_KAFKA_SASL_MECHANISM)")
    perhaps = f", or wants {' or '.join(missing)}" if missing else ""
    return f"the broker closed the connection before it answered: it starts or stops{perhaps}"


def _not_authorised(kind: str) -> Callable[[Any, KafkaSettings], str]:
    def words(error: Any, kafka: KafkaSettings) -> str:
        named = " ".join([kind, *map(str, error.args)])
        return f"{who(kafka)} is not authorised for {named}: see `cartstream topics acls`"

    return words


_KNOWN: Final[tuple[tuple[type[BaseException], bool, Callable[[Any, KafkaSettings], str]], ...]] = (
    (TokenCommandFailed, True, lambda error, _: str(error)),
    # A broker that goes away meanwhile, too.
    (ssl.SSLEOFError, False, lambda _, kafka: _closed(kafka)),
    (ssl.SSLZeroReturnError, False, lambda _, kafka: _closed(kafka)),
    (ssl.SSLError, True, _tls),
    (SaslAuthenticationFailed, True, lambda _, kafka: _not_authenticated(kafka)),
    (
        UnsupportedSaslMechanismError,
        True,
        lambda _, kafka: (
            f"the broker does not know the mechanism {kafka.kafka_sasl_mechanism}: see "
            "CARTSTREAM_KAFKA_SASL_MECHANISM"
        ),
    ),
    (
        IllegalSaslStateError,
        True,
        lambda *_: (
            "the broker takes no SASL there: unset CARTSTREAM_KAFKA_SASL_MECHANISM, or name another port"
        ),
    ),
    (TopicAuthorizationFailedError, True, _not_authorised("topic")),
    (GroupAuthorizationFailedError, True, _not_authorised("group")),
    (ClusterAuthorizationFailedError, True, _not_authorised("the cluster")),
    (ConnectionRefusedError, False, lambda *_: "nothing listens there"),
    (socket.gaierror, False, lambda *_: "its name is not known"),
    (TimeoutError, False, lambda *_: f"no answer within {_CONNECTED_WITHIN_S:g} s"),
)
"""Errors, whether only a change of settings or rights can help, and what they mean. The first one counts."""
