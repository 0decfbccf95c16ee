"""A wrong setting stops the worker before it touches anything."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from devstack.free_ports import free_ports
from runtime.failstop import EXIT_RESTART
from streams.settings import StreamsSettings
from topics.registry import CARTS


def test_a_retention_that_old_events_outlive_is_refused_with_a_right_value() -> None:
    with pytest.raises(ValidationError, match=r"CARTSTREAM_PURGE_AFTER_DAYS: 7 days .* a right value is 30"):
        StreamsSettings(purge_after_days=7)


def test_the_largest_record_fits_into_its_topic() -> None:
    assert StreamsSettings().max_record_bytes < CARTS.max_message_bytes


def test_a_worker_without_a_broker_asks_to_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("CARTSTREAM_KAFKA_BOOTSTRAP", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", "cli", "streams", "compaction"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == EXIT_RESTART
    assert f"127.0.0.1:{port} did not answer" in done.stderr
