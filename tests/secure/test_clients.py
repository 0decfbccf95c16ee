"""Every way of proving who a client is, for aiokafka and Faust; and what one that is not let in is told."""

import sys
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from gateway.health.topics import TopicsCheck
from runtime.kafka.causes import why_unusable
from runtime.settings import KafkaSettings
from tests.secure.certificates import Authority
from tests.secure.secure_broker import STRANGER, SecureBroker, settings_of
from tests.support.processes import Process
from tests.support.waiting import until
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PARTITIONS

pytestmark = pytest.mark.secure

JOBS = "cartstream-jobs"
OPERATOR = "cartstream-operator"


async def has_written_and_read(writer: KafkaSettings, reader: KafkaSettings) -> bool:
    """Whether a record of the one is read by the other."""
    async with AIOKafkaProducer(**writer.client_options(), acks="all") as producer:
        sent = await producer.send_and_wait(DEAD_LETTERS.name, b"proof", partition=0)
    async with AIOKafkaConsumer(**reader.client_options()) as consumer:
        place = TopicPartition(DEAD_LETTERS.name, 0)
        consumer.assign([place])
        consumer.seek(place, sent.offset)
        record = await consumer.getone()
    return bool(record.value == b"proof")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
async def test_a_password_lets_a_client_in(mechanism: str, broker: SecureBroker) -> None:
    assert await has_written_and_read(broker.settings(JOBS, mechanism), broker.settings(OPERATOR, mechanism))


async def test_a_certificate_lets_a_client_in(broker: SecureBroker) -> None:
    writer, reader = (settings_of(broker.environment_with_certificate(user)) for user in (JOBS, OPERATOR))
    assert await has_written_and_read(writer, reader)


async def test_a_token_lets_a_client_in(broker: SecureBroker) -> None:
    writer = settings_of(broker.environment_with_token(JOBS, seconds=600))
    assert await has_written_and_read(writer, broker.settings(OPERATOR))


async def test_a_client_outlives_its_tokens(broker: SecureBroker) -> None:
    settings = settings_of(broker.environment_with_token(JOBS, seconds=6))
    before = len(broker.token_runs(JOBS).read_text()) if broker.token_runs(JOBS).exists() else 0
    async with AIOKafkaProducer(**settings.client_options(), acks="all") as producer:

        async def has_used_three_tokens() -> bool:
            await producer.send_and_wait(DEAD_LETTERS.name, b"again", partition=0)
            return len(broker.token_runs(JOBS).read_text()) >= before + 3

        await until(has_used_three_tokens, "three tokens were used", every_s=0.2)


@pytest.mark.parametrize("way", ["password", "certificate", "token"])
async def test_faust_proves_itself_as_aiokafka_does(way: str, broker: SecureBroker) -> None:
    settings = {
        "password": lambda: broker.settings(JOBS),
        "certificate": lambda: settings_of(broker.environment_with_certificate(JOBS)),
        "token": lambda: settings_of(broker.environment_with_token(JOBS, seconds=600)),
    }[way]()
    credentials = faust.App("proof", broker_credentials=settings.faust_credentials()).conf.broker_credentials
    options = credentials_to_aiokafka_auth(credentials)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, **options) as producer:
        await producer.send_and_wait(DEAD_LETTERS.name, b"faust", partition=0)


async def cause(kafka: KafkaSettings) -> str:
    """What a client that is not let in is told; the cause has to be removed by somebody."""

    async def told() -> str | None:
        found = await why_unusable(kafka)
        assert found is not None
        # Not by a broker that takes too long, nor by one whose alert is lost when it closes the connection.
        return found.text if found.misconfigured else None

    text = await until(told, "what has to be removed is told")
    assert text is not None
    return text


async def test_a_wrong_password_is_named(broker: SecureBroker) -> None:
    told = await cause(broker.settings(JOBS, kafka_sasl_password="wrong-s3cret"))
    assert f"does not accept user {JOBS}" in told
    assert "CARTSTREAM_KAFKA_SASL_PASSWORD" in told
    assert "s3cret" not in told


async def test_a_broker_with_an_unknown_ca_is_named(broker: SecureBroker, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    told = await cause(broker.settings(JOBS, kafka_tls_ca=other.file))
    assert "the certificate of the broker is not accepted" in told
    assert str(other.file) in told


async def test_a_client_certificate_of_an_unknown_ca_is_named(broker: SecureBroker, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "other").issue(JOBS)
    settings = settings_of(broker.environment_with_certificate(JOBS))
    told = await cause(settings.model_copy(update={"kafka_tls_cert": certificate, "kafka_tls_key": key}))
    assert "CARTSTREAM_KAFKA_TLS_CERT" in told


async def test_a_missing_client_certificate_is_named(broker: SecureBroker) -> None:
    settings = settings_of(broker.environment_with_certificate(JOBS))
    told = await why_unusable(settings.model_copy(update={"kafka_tls_cert": None, "kafka_tls_key": None}))
    assert told is not None
    assert "CARTSTREAM_KAFKA_TLS_CERT" in told.text


async def test_a_token_that_the_broker_does_not_accept_is_named(broker: SecureBroker) -> None:
    told = await cause(settings_of(broker.environment_with_command("echo opaque-t0ken")))
    assert "does not accept the token of CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND" in told
    assert "t0ken" not in told


async def test_a_token_command_that_fails_is_named_with_its_exit_code(broker: SecureBroker) -> None:
    command = f"{sys.executable} -c 'print(\"s3cret\"); raise SystemExit(3)'"
    told = await cause(settings_of(broker.environment_with_command(command)))
    assert f"the token command {sys.executable} ended with exit code 3" in told
    assert "s3cret" not in told


async def test_a_client_without_tls_or_sasl_is_told_what_may_be_missing(broker: SecureBroker) -> None:
    plain = KafkaSettings(kafka_bootstrap=broker.settings(JOBS).kafka_bootstrap)
    told = await why_unusable(plain)
    assert told is not None
    assert "CARTSTREAM_KAFKA_TLS" in told.text
    assert "CARTSTREAM_KAFKA_SASL_MECHANISM" in told.text


async def test_the_readiness_of_a_gateway_that_is_not_let_in_says_why(broker: SecureBroker) -> None:
    check = TopicsCheck(broker.settings(JOBS, kafka_sasl_password="wrong"), PARTITIONS, [CART_CHANGED])
    check.start()
    try:
        told = await until(lambda: check.problem, "the gateway knows why")
        assert told is not None
        assert f"does not accept user {JOBS}" in told
    finally:
        await check.stop()


@pytest.mark.parametrize("case", ["without rights", "with a wrong password", "with a wrong token"])
def test_a_process_that_may_not_ends_with_1_and_says_why(
    case: str, broker: SecureBroker, tmp_path: Path
) -> None:
    stranger = broker.environment(STRANGER)
    environment, told = {
        "without rights": (
            stranger,
            f"does not allow the principal User:{STRANGER}: Read on topic {CARTS.name}",
        ),
        "with a wrong password": (
            stranger | {"CARTSTREAM_KAFKA_SASL_PASSWORD": "wrong"},
            f"does not accept user {STRANGER}",
        ),
        "with a wrong token": (
            broker.environment_with_command("echo opaque"),
            "does not accept the token",
        ),
    }[case]
    process = Process("sink", ["-m", "cli", "sinks", "postgres"], environment, tmp_path)
    try:
        process.launch()
        assert process.wait() == 1, process.tail
        said = f"cartstream sinks postgres: Kafka at {environment['CARTSTREAM_KAFKA_BOOTSTRAP']}"
        assert said in process.tail
        assert told in process.tail
        assert "Traceback" not in process.tail
    finally:
        process.kill()
