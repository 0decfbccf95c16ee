"""A process that waits for Kafka before it begins: it says so, for how long; SIGTERM ends it at once."""

import signal
import socket
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from devstack.free_ports import free_ports
from runtime.failstop import EXIT_RESTART
from runtime.settings import KafkaSettings
from tests.support.processes import Process
from tests.support.waiting import PATIENCE_S, until_blocking
from topics import startup
from topics.access import SINK_MAIL, STREAM_COMPACTION, Role
from topics.errors import ClusterUnreachableError
from topics.registry import PARTITIONS
from topics.startup import require_topics


def test_sigterm_ends_a_process_that_has_not_begun(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        process = Process(
            "compaction",
            ["-m", "cli", "streams", "compaction"],
            {"CARTSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{silent.getsockname()[1]}"},
            tmp_path,
        )
        process.launch()
        try:
            silent.accept()[0].close()
            process.send(signal.SIGTERM)
            until_blocking(process.has_ended, "ended")
            assert process.wait() == 0
        finally:
            process.kill()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience for three looks, however long they take, and the signal handlers of the tests."""
    monkeypatch.setattr(startup, "_KAFKA_S", 3.5)
    monkeypatch.setattr(startup, "time", SimpleNamespace(monotonic=count().__next__))
    monkeypatch.setattr(startup, "_AGAIN_S", 0.01)
    monkeypatch.setattr(startup, "end_at_sigterm", lambda: None)


@pytest.mark.usefixtures("hasty")
def test_a_process_without_kafka_says_what_it_waits_for_and_asks_to_be_started_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (port,) = free_ports(1)
    kafka = KafkaSettings(kafka_bootstrap=f"127.0.0.1:{port}")
    with pytest.raises(SystemExit) as ended:
        require_topics("streams compaction", kafka, PARTITIONS, STREAM_COMPACTION)
    assert ended.value.code == EXIT_RESTART
    waits, *_, last = capsys.readouterr().err.splitlines()
    why = f"Kafka at 127.0.0.1:{port} did not answer (127.0.0.1:{port}: nothing listens there): see whether"
    assert waits.startswith(f"cartstream streams compaction: waits for Kafka: {why}")
    assert last.startswith(f"cartstream streams compaction: {why}")


@pytest.mark.usefixtures("hasty")
def test_a_process_begins_once_kafka_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [ClusterUnreachableError("not yet"), ClusterUnreachableError("not yet"), None]

    async def answer(*_: object, **__: object) -> bool:
        if (refusal := answers.pop(0)) is not None:
            raise refusal
        answers.append(None)
        return True

    monkeypatch.setattr(startup, "_require_rights", answer)
    monkeypatch.setattr(startup, "is_open", answer)
    monkeypatch.setattr(startup, "require", answer)
    require_topics("streams compaction", KafkaSettings(), PARTITIONS, STREAM_COMPACTION)
    assert capsys.readouterr().err == "cartstream streams compaction: waits for Kafka: not yet\n"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("role", [STREAM_COMPACTION, SINK_MAIL], ids=lambda role: role.name)
def test_rights_are_looked_at_once_and_before_a_wait(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def rights(*_: object) -> None:
        asked.append("rights")

    async def is_open(_: KafkaSettings) -> bool:
        asked.append("open")
        return True

    async def require(*_: object, role: Role | None, **__: object) -> None:
        asked.append("topics" if role is None else "rights and topics")

    monkeypatch.setattr(startup, "_require_rights", rights)
    monkeypatch.setattr(startup, "is_open", is_open)
    monkeypatch.setattr(startup, "require", require)
    require_topics("streams compaction", KafkaSettings(), PARTITIONS, role)
    waits = ["rights", "open", "topics"]
    assert asked == (waits if role is STREAM_COMPACTION else ["rights and topics"])
