"""The URL of Postgres: what is wrong with it is said before anything connects, without its password."""

import pytest

from runtime.settings import SettingsError, load
from store.postgres.settings import PostgresSettings


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://carts:s3cret@db/carts", "starts with postgresql://"),
        ("postgresql://carts:s3cret@db/carts?nonsense=1", 'invalid URI query parameter: "nonsense"'),
        ("postgresql://carts:s3cret%zz@db/carts", "no URL that libpq can read"),
        ("postgresql://carts:s3cret@[db/carts", "no URL that libpq can read"),
    ],
)
def test_a_url_that_nobody_can_use_is_a_wrong_setting(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", url)
    with pytest.raises(SettingsError, match="CARTSTREAM_POSTGRES_URL") as caught:
        load(PostgresSettings)
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_options_of_libpq_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgres://carts@db:5433/carts?sslmode=verify-full&target_session_attrs=read-write"
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", url)
    assert load(PostgresSettings).postgres_url.get_secret_value() == url
