"""Settings of Kafka clients: a wrong one is named, the right ones reach aiokafka and Faust alike."""

from __future__ import annotations

import faust
import pytest
from pydantic import ValidationError

from delivery.app import create_app
from delivery.settings import DeliverySettings
from delivery.workers import run_workers, worker_environment
from runtime.settings import KafkaSettings, SettingsError


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"KAFKA_BOOTSTRAP": "kafka"}, "a right value is kafka-1:9092"),
        ({"KAFKA_BOOTSTRAP": "kafka-1:9092,kafka-2"}, "'kafka-2' is no host:port"),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, "set CARTSTREAM_KAFKA_SASL_USERNAME"),
        ({"KAFKA_SASL_MECHANISM": "KERBEROS"}, "kafka_sasl_mechanism"),
        ({"KAFKA_SASL_USERNAME": "cartstream"}, "set it, e.g. to SCRAM-SHA-512"),
        ({"KAFKA_TLS_CERT": "/client.crt"}, "CARTSTREAM_KAFKA_TLS_KEY"),
        ({"KAFKA_TLS_CA": "/ca.crt"}, "set CARTSTREAM_KAFKA_TLS=true"),
        ({"KAFKA_TLS": "true", "KAFKA_TLS_CA": "/none/ca.crt"}, "cannot be read as PEM: No such file"),
        ({"KAFKA_TLS": "true", "KAFKA_TLS_CA": __file__}, "cannot be read as PEM"),
        ({"LOCAL_STORE_CACHE_BYTES": "0"}, "local_store_cache_bytes"),
        ({"SESSION_TIMEOUT_S": "0"}, "session_timeout_s"),
    ],
)
def test_a_wrong_setting_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], complaint: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"CARTSTREAM_{name}", value)
    with pytest.raises(ValidationError, match=complaint):
        DeliverySettings()


def test_credentials_reach_aiokafka_and_faust_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_TLS", "true")
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_USERNAME", "cartstream")
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_PASSWORD", "secret")
    settings = KafkaSettings()
    options = settings.client_options()
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_context"] is not None
    assert (options["sasl_mechanism"], options["sasl_plain_password"]) == ("SCRAM-SHA-512", "secret")
    credentials = settings.faust_credentials()
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.mechanism.value) == ("cartstream", "SCRAM-SHA-512")
    assert credentials.ssl_context is not None
    assert "secret" not in str(settings.model_dump(mode="json"))


def test_workers_have_the_ports_after_their_supervisors() -> None:
    settings = DeliverySettings(metrics_port=9400, workers=4)
    assert worker_environment(settings, 2, "host")["CARTSTREAM_METRICS_PORT"] == "9403"
    assert "CARTSTREAM_METRICS_PORT" not in worker_environment(DeliverySettings(), 2, "host")
    assert "CARTSTREAM_METRICS_PORT" not in worker_environment(DeliverySettings(metrics_port=0), 2, "host")


def test_ports_that_do_not_suffice_are_refused() -> None:
    settings = DeliverySettings(metrics_port=65533, workers=3)
    with pytest.raises(SettingsError, match="A right value: CARTSTREAM_METRICS_PORT=9400"):
        run_workers(("streams", "compaction"), settings, 16, lambda: None)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (None, None, "127.0.0.1"),
        (None, 9400, "0.0.0.0"),
        ("::1", None, "::1"),
        ("10.0.0.7", 9400, "10.0.0.7"),
    ],
)
def test_probes_leave_this_host_only_where_their_port_is_set(
    host: str | None, port: int | None, expected: str
) -> None:
    assert DeliverySettings(metrics_host=host, metrics_port=port).probes_host == expected


def test_an_app_is_made_without_a_connection_and_with_faust_s_traps_closed() -> None:
    conf = create_app("streams", DeliverySettings(kafka_bootstrap="kafka-1:9092,kafka-2:9092")).conf
    assert [str(url) for url in conf.broker] == ["kafka://kafka-1:9092", "kafka://kafka-2:9092"]
    assert (conf.producer_acks, conf.consumer_auto_offset_reset) == (-1, "earliest")
    assert not conf.topic_allow_declare
    assert not conf.web_enabled
    assert not conf.stream_wait_empty
    assert conf.producer_max_request_size > 1 << 20
