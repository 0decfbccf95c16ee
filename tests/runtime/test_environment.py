"""Settings whose values are in files, as secrets are mounted: each one is read in the same way."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from cli.topics import TopicCommandSettings
from devstack.settings import StackSettings
from gateway.settings import GatewaySettings
from jobs.settings import JobsSettings
from ops.settings import OpsSettings
from runtime.environment import give, is_given, with_variables, without_variables
from runtime.settings import KafkaSettings, Settings, SettingsError, load, shown
from sinks.history.settings import HistorySinkSettings
from sinks.mail.settings import MailSinkSettings
from sinks.postgres.settings import PostgresSinkSettings
from sinks.redis.settings import RedisSinkSettings
from streams.merge_settings import MergeSettings
from streams.settings import StreamsSettings

PROCESSES: list[type[BaseSettings]] = [
    GatewaySettings,
    StreamsSettings,
    MergeSettings,
    PostgresSinkSettings,
    HistorySinkSettings,
    RedisSinkSettings,
    MailSinkSettings,
    JobsSettings,
    OpsSettings,
    TopicCommandSettings,
]
"""What the processes and commands read that reach Kafka."""


class Example(Settings):
    """Settings of several types."""

    secret: SecretStr | None = None
    number: int = 3
    file: str | None = None
    number_file: Path | None = None


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that CARTSTREAM_KAFKA_SASL_PASSWORD_FILE names."""
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_PASSWORD_FILE", str(path))
    return path


def complaint(settings: type[BaseSettings] = KafkaSettings) -> str:
    with pytest.raises(SettingsError) as raised:
        load(settings)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__suppress_context__, "a traceback would show what was set"
    return str(raised.value)


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize("settings", PROCESSES)
def test_every_process_reads_secrets_from_files(settings: type[BaseSettings]) -> None:
    found = load(settings)
    assert isinstance(found, KafkaSettings)
    assert found.kafka_sasl_password == SecretStr("s3cret")
    assert shown(found)["kafka_sasl_password"] == "***"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"a b", "a b"),
        (b"a b\n", "a b"),
        (b"a b\r\n", "a b"),
        (b"a b\n\n", "a b\n"),
        (b" a b ", " a b "),
        (b"\n", ""),
        ("Schlüssel\n".encode(), "Schlüssel"),
    ],
)
def test_the_value_is_what_the_file_holds_without_its_last_newline(
    content: bytes, value: str, mounted: Path
) -> None:
    mounted.write_bytes(content)
    assert load(KafkaSettings).kafka_sasl_password == SecretStr(value)


def test_a_setting_that_is_no_text_is_read_from_a_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "port").write_text("8080\n")
    monkeypatch.setenv("CARTSTREAM_GATEWAY_PORT_FILE", str(tmp_path / "port"))
    assert load(GatewaySettings).gateway_port == 8080


@pytest.mark.usefixtures("mounted")
def test_both_given_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_PASSWORD", "s3cret")
    assert complaint() == (
        "CARTSTREAM_KAFKA_SASL_PASSWORD and CARTSTREAM_KAFKA_SASL_PASSWORD_FILE are both set: "
        "keep one of them, and unset the other"
    )


def test_a_file_that_cannot_be_read_is_named_and_never_shown(mounted: Path) -> None:
    mounted.write_bytes(b"s3cret\xff")
    assert f"CARTSTREAM_KAFKA_SASL_PASSWORD_FILE: {mounted} is no text" in complaint()
    mounted.write_bytes(b"s3cret" * 20_000)
    assert f"{mounted} is larger than 64 KiB" in complaint()
    mounted.unlink()
    assert f"CARTSTREAM_KAFKA_SASL_PASSWORD_FILE: {mounted} cannot be read (No such file" in complaint()
    mounted.mkdir()
    assert f"{mounted} cannot be read (Is a directory)" in complaint()


def test_all_wrong_files_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "POSTGRES_URL"):
        monkeypatch.setenv(f"CARTSTREAM_{name}_FILE", str(tmp_path / name))
    assert {line.partition(":")[0] for line in complaint(OpsSettings).splitlines()} == {
        "CARTSTREAM_POSTGRES_URL_FILE",
        "CARTSTREAM_REDIS_URL_FILE",
    }


def test_a_wrong_value_in_a_file_is_told_like_any_other(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted.write_text("s3cret")
    monkeypatch.setenv("CARTSTREAM_GUEST_TOKEN_KEYS_FILE", str(mounted))
    assert "CARTSTREAM_GUEST_TOKEN_KEYS: a key has 6 characters" in complaint(GatewaySettings)


def test_no_file_is_named_by_an_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_PASSWORD_FILE", "")
    assert load(KafkaSettings).kafka_sasl_password is None


def test_a_setting_whose_name_ends_with_file_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_NUMBER_FILE", "/not/there")
    assert load(Example).number_file == Path("/not/there")
    assert load(Example).number == 3


def test_no_setting_is_called_like_the_file_of_another_one() -> None:
    every: list[type[BaseSettings]] = [*PROCESSES, StackSettings]
    names = {name for settings in every for name in settings.model_fields}
    assert {name for name in names if f"{name}_file" in names} == set()


def test_a_variable_takes_the_place_of_a_file() -> None:
    environment = {"CARTSTREAM_X_FILE": "/x", "CARTSTREAM_Y_FILE": "/y", "HOME": "/"}
    assert with_variables(environment, {"CARTSTREAM_X": "1"}) == {
        "CARTSTREAM_X": "1",
        "CARTSTREAM_Y_FILE": "/y",
        "HOME": "/",
    }
    assert without_variables(environment, {"CARTSTREAM_Y"}) == {"CARTSTREAM_X_FILE": "/x", "HOME": "/"}


def test_an_option_takes_the_place_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_WORKERS_FILE", "/not/there")
    monkeypatch.delenv("CARTSTREAM_WORKERS", raising=False)
    assert is_given("CARTSTREAM_WORKERS")
    give("CARTSTREAM_WORKERS", "2")
    try:
        assert load(StreamsSettings).workers == 2
    finally:
        del os.environ["CARTSTREAM_WORKERS"]
