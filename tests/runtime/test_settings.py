"""Settings in the log: nothing that is secret."""

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from runtime.settings import KafkaSettings, SettingsError, load, shown


class Settings(BaseSettings):
    """Some settings."""

    url: str = "redis://127.0.0.1"
    secret_url: SecretStr = SecretStr("postgresql://127.0.0.1/carts")
    password: SecretStr | None = None
    number: int = 3


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://user:s3cret@redis:6379/0", "redis://user:***@redis:6379/0"),
        ("redis://:s3cret@redis:6379/0", "redis://:***@redis:6379/0"),
        ("postgresql://db/carts?user=shop&password=s3cret", "postgresql://db/carts?user=shop&password=***"),
    ],
)
def test_of_a_url_only_the_password_is_masked(url: str, expected: str) -> None:
    found = shown(Settings(url=url, secret_url=SecretStr(url)))
    assert (found["url"], found["secret_url"]) == (expected, expected)


def test_a_complaint_repeats_no_secret_and_shows_a_right_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_BOOTSTRAP", "kafka://shop:s3cret@kafka")
    with pytest.raises(SettingsError) as raised:
        load(KafkaSettings)
    assert "s3cret" not in str(raised.value)
    assert "'kafka://shop:***@kafka' is no host:port" in str(raised.value)


def test_other_secrets_are_masked_and_other_settings_are_not() -> None:
    found = shown(Settings(password=SecretStr("s3cret")))
    assert (found["password"], found["number"]) == ("***", 3)
    assert shown(Settings())["password"] is None
