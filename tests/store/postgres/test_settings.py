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


@pytest.mark.parametrize(
    "schema", ["", "Shop", "pg_shop", "information_schema", "a-b", 'a"b', "1a", "x" * 64]
)
def test_a_schema_that_nobody_can_use_is_a_wrong_setting(
    schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTSTREAM_POSTGRES_SCHEMA", schema)
    with pytest.raises(SettingsError, match="CARTSTREAM_POSTGRES_SCHEMA=cartstream"):
        load(PostgresSettings)


def test_the_schema_is_named_by_its_setting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_POSTGRES_SCHEMA", "shop_1")
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", "postgresql://db/carts?options=-c%20work_mem%3D7MB")
    assert load(PostgresSettings).postgres_address.schema == "shop_1"
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", "postgresql://db/carts?options=-csearch_path%3Dshop")
    with pytest.raises(SettingsError, match="CARTSTREAM_POSTGRES_SCHEMA instead"):
        load(PostgresSettings)
