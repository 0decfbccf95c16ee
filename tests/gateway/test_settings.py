"""A wrong setting stops the start, names its variable and shows a right value; secrets stay secret."""

import os
import subprocess
import sys

import pytest

from gateway.settings import GatewaySettings
from runtime.settings import SettingsError, load, shown
from tests.support.processes import ROOT


def test_a_gateway_that_stops_has_the_time_to_finish_a_checkout_and_ends_before_it_is_killed() -> None:
    settings = GatewaySettings()
    assert settings.stop_s >= settings.checkout_deadline_s
    assert settings.longest_stop_s <= 30  # Kubernetes gives a pod so many seconds


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CARTSTREAM_GATEWAY_PORT", "http"),
        ("CARTSTREAM_REDIS_URL", "127.0.0.1:6379"),
        ("CARTSTREAM_POSTGRES_URL", "mysql://db/carts"),
        ("CARTSTREAM_PUBLISH_WAIT_S", "-1"),
        ("CARTSTREAM_PARTITIONS", "0"),
        ("CARTSTREAM_KAFKA_BOOTSTRAP", "kafka"),
        ("CARTSTREAM_PRODUCTS_OWNER", "monolith"),
        ("CARTSTREAM_ORDERS_OWNER", "internal"),
        ("CARTSTREAM_PRICING_URL", "shop/price"),
        ("CARTSTREAM_PRICING_URL", "http://[::1"),
        ("CARTSTREAM_PRICING_URL", "http://shop:99999/"),
        ("CARTSTREAM_PRICING_URL", "http:// /price"),
    ],
)
def test_a_wrong_setting_is_named_with_a_right_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as raised:
        load(GatewaySettings)
    assert f"{variable}: " in str(raised.value)
    assert f"A right value: {variable}=" in str(raised.value)


def test_settings_are_shown_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", "postgresql://shop:s3cret@db/carts")
    monkeypatch.setenv("CARTSTREAM_REDIS_URL", "redis://:s3cret@redis:6379/0")
    monkeypatch.setenv("CARTSTREAM_PRICING_URL", "https://shop:s3cret@rules:8100/price")
    text = str(shown(load(GatewaySettings)))
    assert "s3cret" not in text
    assert "postgresql://shop:***@db/carts" in text
    assert "https://shop:***@rules:8100/price" in text


def test_the_process_ends_with_2_and_the_variable_on_stderr() -> None:
    environment = {**os.environ, "CARTSTREAM_GATEWAY_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.main"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("CARTSTREAM_GATEWAY_PORT: ")
    assert "Traceback" not in ended.stderr


def test_waits_that_do_not_fit_the_deadline_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_REQUEST_DEADLINE_S", "1")
    with pytest.raises(SettingsError, match="A right value: CARTSTREAM_REQUEST_DEADLINE_S=5"):
        load(GatewaySettings)


@pytest.mark.parametrize(
    ("products", "orders"), [("internal", "internal"), ("internal", "external"), ("external", "external")]
)
def test_owners_that_fit_each_other_are_accepted(
    monkeypatch: pytest.MonkeyPatch, products: str, orders: str
) -> None:
    monkeypatch.setenv("CARTSTREAM_PRODUCTS_OWNER", products)
    monkeypatch.setenv("CARTSTREAM_ORDERS_OWNER", orders)
    settings = load(GatewaySettings)
    assert (settings.products_owner, settings.orders_owner) == (products, orders)


@pytest.mark.parametrize("products", ["external", "caller"])
def test_internal_orders_need_internal_products(monkeypatch: pytest.MonkeyPatch, products: str) -> None:
    monkeypatch.setenv("CARTSTREAM_PRODUCTS_OWNER", products)
    monkeypatch.setenv("CARTSTREAM_ORDERS_OWNER", "internal")
    with pytest.raises(SettingsError, match="A right value: CARTSTREAM_ORDERS_OWNER=external"):
        load(GatewaySettings)
