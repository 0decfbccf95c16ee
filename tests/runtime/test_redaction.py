"""What is secret is shown nowhere, however it is spelled and wherever it stands."""

from typing import Any

import pytest

from runtime.logs import mask_secrets
from runtime.redaction import redacted, redacted_address

GUEST_TOKEN = "g1.bTKSlfct0sabyx2c0o-4mGHA.1798437837.qpu8Yk3mJ0Vb-1Zx2c0o4mGHAqpu8Yk3mJ0Vb_1Zx2c0"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET http://h/v1/carts/guest:s3cret/items", "GET http://h/v1/carts/guest:***/items"),
        ("GET http://h/v1/carts/guest%3As3cret", "GET http://h/v1/carts/guest:***"),
        ("GET http://h/v1/carts/%67uest:s3cret", "GET http://h/v1/carts/guest:***"),
        ("GET http://h/v1/carts/g%75e%73t%3as3%63ret", "GET http://h/v1/carts/guest:***"),
        (
            "/v1/carts/me/stream?ticket=s3cret&last_event_id=3",
            "/v1/carts/me/stream?ticket=***&last_event_id=3",
        ),
        ("/v1/carts/me/stream?%74icket=s3cret", "/v1/carts/me/stream?%74icket=***"),
        ("/v1/recover/s3cret?x=1", "/v1/recover/***?x=1"),
        (f"/v1/carts/{GUEST_TOKEN}/items", "/v1/carts/***/items"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer ***"),
        ("redis://:s3cret@redis:6379/0 is away", "redis://:***@redis:6379/0 is away"),
        ("postgresql://shop:s3@cret@db/carts", "postgresql://shop:***@db/carts"),
        ("https://s3cret@rules/price", "https://***@rules/price"),
        ("postgresql://db/carts?user=shop&password=s3cret", "postgresql://db/carts?user=shop&password=***"),
        ("redis://db:6379/0?sslPassword=s3cret", "redis://db:6379/0?sslPassword=***"),
        ("host=db password='s3 cret' user=shop", "host=db password=*** user=shop"),
        ("Error(url='http://rules/price?key=s3cret')", "Error(url='http://rules/price?key=***')"),
        ("http://h/?next=http%3A%2F%2Frules%2F%3Ftoken%3Ds3cret", "http://h/?next=***"),
        ("http://h/?db=redis%3A%2F%2F%3As3cret%40redis", "http://h/?db=***"),
        ("api_key=s3cret, x-api-key=s3cret", "api_key=***, x-api-key=***"),
    ],
)
def test_a_secret_is_hidden_and_the_rest_is_shown(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/" + "a" * 100_000 + "!=",
        "/v1/?" + "a=" * 50_000 + "%",
        "/" + "eyJ-" * 25_000 + "=",
        "a='\\'" * 20_000,
        "://" * 30_000 + "a:" * 10_000 + "=",
        "x=" + "%25" * 30_000,
        "g%75" * 25_000,
        "a." * 50_000 + "=x",
    ],
)
def test_a_long_text_that_somebody_chose_is_searched_all_the_same(text: str) -> None:
    assert redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://127.0.0.1:6379/0",
        "postgresql://cartstream@127.0.0.1:5432/cartstream?passfile=/data/postgres.pass",
        "GET http://127.0.0.1:8000/v1/products?q=token&limit=5",
        "ConsumerRecord(topic='carts', partition=3, key=b'user:42')",
        "Prefer: durability=kafka",
        "http://127.0.0.1:8000 said ada@example.org",
        "sent 3 of 4 in 1.2 s, e1.2.3",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert redacted(text) == text


def test_a_web_address_among_the_settings_shows_no_value_of_its_query() -> None:
    assert (
        redacted_address("https://rules/price?shop=s3cret&t=s3cret") == "https://rules/price?shop=***&t=***"
    )


def test_a_log_event_is_searched_to_its_depth_and_objects_by_their_text() -> None:
    event: dict[str, Any] = {
        "event": "x.failed",
        "error": ValueError("redis://:s3cret@redis"),
        "settings": {"url": "http://rules?token=s3cret", "ports": [1, 2.5], "paths": ["/v1/recover/s3cret"]},
        "exit_code": 75,
        "_record": object(),
    }
    found = dict(mask_secrets(None, "info", event))
    assert "s3cret" not in str(found)
    assert (found["exit_code"], found["settings"]["ports"], found["_record"]) == (
        75,
        [1, 2.5],
        event["_record"],
    )
