"""What the log shows, and what it keeps to itself."""

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
import structlog

from runtime.logs import configure_logging, mask_secrets
from runtime.settings import LogSettings, SettingsError, load
from tests.support.processes import ROOT


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


def test_the_kafka_client_does_not_flood_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    try:
        configure_logging("test", LogSettings())
        logging.getLogger("aiokafka.conn").error("connection refused, again")
        logging.getLogger("elsewhere").error("guest:secret failed")
        printed = capsys.readouterr().err
    finally:
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        root.handlers[:], root.level = before, level
    assert "again" not in printed
    assert "guest:*** failed" in printed


PROGRAM = """
import logging, threading, warnings
import structlog
from runtime.logs import configure_logging
from runtime.settings import LogSettings, load

configure_logging("cartstream-example", load(LogSettings))
log = structlog.get_logger("example")
log.debug("cart.looked_at", cart_id="guest:s3cret")
log.info("cart.restored", partition=7)
try:
    raise ValueError("postgresql://shop:s3cret@db/carts")
except ValueError:
    log.exception("restore.failed")
logging.getLogger("sanic.access").info("", extra={"request": "GET /v1/carts/guest:s3cret", "status": 200})
for library in ("faust.app", "aiokafka.conn"):
    logging.getLogger(library).debug("%s sends s3cret", library)
    logging.getLogger(library).info("%s connects", library)
    logging.getLogger(library).warning("%s waits", library)
logging.getLogger("aiokafka.conn").critical("password=s3cret is no password")
warnings.warn("old", stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0, name="thread")
thread.start()
thread.join()
raise RuntimeError("token=s3cret")
"""


def logged(level: str, log_format: str) -> str:
    """What a process writes to stderr; nothing of it is secret."""
    environment = {**os.environ, "CARTSTREAM_LOG_LEVEL": level, "CARTSTREAM_LOG_FORMAT": log_format}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert "s3cret" not in ended.stderr
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr


def test_each_line_is_an_object_with_the_same_names_first() -> None:
    lines = [json.loads(line) for line in logged("info", "json").splitlines()]
    assert {tuple(line)[:6] for line in lines} == {
        ("time", "level", "logger", "message", "process", "process_id")
    }
    assert {line["process"] for line in lines} == {"cartstream-example"}
    said = {(line["level"], line["logger"], line["message"]) for line in lines}
    assert said == {
        ("info", "example", "cart.restored"),
        ("error", "example", "restore.failed"),
        ("info", "sanic.access", ""),
        ("warning", "faust.app", "faust.app waits"),
        ("critical", "aiokafka.conn", "password=*** is no password"),
        (
            "warning",
            "py.warnings",
            next(line["message"] for line in lines if line["logger"] == "py.warnings"),
        ),
        ("critical", "runtime.logs", "process.uncaught_exception"),
    }
    by_message = {line["message"]: line for line in lines}
    assert by_message["cart.restored"]["partition"] == 7
    assert by_message["restore.failed"]["exception"].endswith("ValueError: postgresql://shop:***@db/carts")
    assert by_message[""]["request"] == "GET /v1/carts/guest:***"
    uncaught = [line["exception"] for line in lines if line["message"] == "process.uncaught_exception"]
    assert [text.splitlines()[-1] for text in uncaught] == [
        "ZeroDivisionError: division by zero",
        "RuntimeError: token=***",
    ]
    assert datetime.fromisoformat(lines[0]["time"]).tzinfo == UTC


@pytest.mark.parametrize(
    ("level", "seen", "not_seen"),
    [
        ("debug", ["cart.looked_at", "aiokafka.conn connects", "faust.app connects"], ["sends"]),
        ("warning", ["restore.failed", "faust.app waits"], ["cart.restored", "sanic.access", "conn waits"]),
        ("error", ["restore.failed"], ["waits", "cart.restored"]),
        ("critical", ["process.uncaught_exception"], ["restore.failed"]),
    ],
)
def test_below_the_level_nothing_is_logged_and_libraries_say_less(
    level: str, seen: list[str], not_seen: list[str]
) -> None:
    text = logged(level, "json")
    assert [part for part in seen if part not in text] == []
    assert [part for part in not_seen if part in text] == []


def test_what_is_tried_again_is_no_part_of_what_a_command_says() -> None:
    program = """
import logging
import stamina, structlog
from runtime.logs import configure_command_logging

configure_command_logging()
for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0):
    with attempt:
        logging.getLogger("aiokafka.client").error("Unable connect to node")
        if attempt.num == 1:
            raise ValueError
structlog.get_logger("example").warning("carts.not_read")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert "carts.not_read" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_text_is_for_people() -> None:
    lines = logged("info", "text").splitlines()
    assert "cart.restored" in lines[0]
    assert "partition=7" in lines[0]
    assert not [line for line in lines if line.startswith("{")]
    assert "RuntimeError: token=***" in lines


def test_a_wrong_level_or_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_LOG_LEVEL", "verbose")
    monkeypatch.setenv("CARTSTREAM_LOG_FORMAT", "xml")
    with pytest.raises(SettingsError) as raised:
        load(LogSettings)
    assert "A right value: CARTSTREAM_LOG_LEVEL=info" in str(raised.value)
    assert "A right value: CARTSTREAM_LOG_FORMAT=json" in str(raised.value)
