"""A wrong setting stops the start, naming the variable and a right value."""

import pytest

from runtime.settings import SettingsError, load
from store.redis import RedisSettings


@pytest.mark.parametrize(
    ("variable", "value", "example"),
    [
        ("CARTSTREAM_REDIS_URL", "http://redis", "CARTSTREAM_REDIS_URL=redis://127.0.0.1:6379/0"),
        ("CARTSTREAM_PARTITIONS", "0", "CARTSTREAM_PARTITIONS=16"),
        ("CARTSTREAM_REDIS_TIMEOUT_S", "soon", "CARTSTREAM_REDIS_TIMEOUT_S=2.0"),
        ("CARTSTREAM_OUTBOX_MAX_BYTES", "-1", "CARTSTREAM_OUTBOX_MAX_BYTES=67108864"),
    ],
)
def test_a_wrong_setting_is_named_with_a_right_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, example: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as raised:
        load(RedisSettings)
    assert example in str(raised.value)
