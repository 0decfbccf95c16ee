"""What the log shows, and what it keeps to itself."""

import logging

import pytest

from runtime.logs import configure_logging, mask_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v1/carts/guest:a1-B_2~c.d/items", "/v1/carts/guest:***/items"),
        ("GET http://shop/v1/carts/guest%3Aa1b2?x=1", "GET http://shop/v1/carts/guest:***?x=1"),
        ("/v1/carts/user:42", "/v1/carts/user:42"),
        ("GET /v1/carts/me/stream?ticket=aB-_9&x=1", "GET /v1/carts/me/stream?ticket=***&x=1"),
        ("GET /v1/recover/r1.aB-_9.1.c?x=1", "GET /v1/recover/***?x=1"),
        ("POST /v1/unsubscribe/u1.aB-_9.0.c", "POST /v1/unsubscribe/***"),
        ("no guest today", "no guest today"),
    ],
)
def test_guest_tokens_and_tickets_are_masked(text: str, shown: str) -> None:
    assert mask_secrets(None, "info", {"event": "e", "path": text, "status": 200}) == {
        "event": "e",
        "path": shown,
        "status": 200,
    }


def test_the_kafka_client_does_not_flood_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging()
        logging.getLogger("aiokafka.conn").error("connection refused, again")
        logging.getLogger("elsewhere").error("guest:secret failed")
        printed = capsys.readouterr().err
    finally:
        root.handlers[:], root.level = before, level
    assert "again" not in printed
    assert "guest:*** failed" in printed
