"""`cartstream up`, `status` and `stop` as a person uses them, on real servers."""

import json
import os
import signal
import socket
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from cli.main import COMMANDS
from devstack.files import targets_folder
from devstack.settings import HOST
from tests.cli.conftest import Command
from tests.support.waiting import until_blocking
from topics.groups import COMPACTION

# Whole starts, and on a busy machine each takes its time.
pytestmark = pytest.mark.timeout(300)


def test_all_three_servers_come_up_and_stop_leaves_no_process(command: Command) -> None:
    supervisor = command.up(only="redis,postgres,kafka")
    status = json.loads(command.run("status", "--json").stdout)
    assert {each["name"]: each["state"] for each in status["components"]} == {
        "redis": "ready",
        "postgres": "ready",
        "kafka": "ready",
    }
    assert command.left_behind()

    assert command.run("stop").returncode == 0

    assert supervisor.wait(timeout=120) == 0
    assert command.left_behind() == []


def test_status_says_where_several_workers_answer_probes(command: Command) -> None:
    command.env["CARTSTREAM_COMPACTION_WORKERS"] = "2"
    command.up(only="kafka,topics,compaction")
    status = json.loads(command.run("status", "--json").stdout)
    (address,) = [each["probes"] for each in status["components"] if each["name"] == "compaction"]
    ready = httpx.get(f"{address}/health/ready", verify=False, timeout=60)
    assert (ready.status_code, ready.json()["checks"]) == (200, {"workers": {"status": "ok"}})
    assert address in command.run("status").stdout

    # Prometheus finds all three of them without a port that anybody has chosen.
    found = [json.loads(path.read_bytes()) for path in targets_folder(command.settings.data_dir).iterdir()]
    assert sorted(target["labels"]["worker"] for (target,) in found) == [
        "compaction-0",
        "compaction-1",
        "compaction-supervisor",
    ]
    for (target,) in found:
        assert target["labels"]["process"] == COMPACTION
        metrics = httpx.get(f"http://{target['targets'][0]}/metrics", verify=False, timeout=60)
        assert "python_info" in metrics.text


def test_ctrl_c_stops_everything(command: Command) -> None:
    supervisor = command.up(only="redis,postgres")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(timeout=120) == 0
    assert command.left_behind() == []


def test_data_is_there_after_a_second_start(command: Command) -> None:
    first = command.up(only="redis,postgres")
    redis.Redis.from_url(command.settings.urls.redis).set("kept", "yes")
    with psycopg.connect(command.settings.urls.postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=120)

    command.up(only="redis,postgres")

    assert redis.Redis.from_url(command.settings.urls.redis).get("kept") == b"yes"
    with psycopg.connect(command.settings.urls.postgres) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_redis_killed_with_9_is_restarted_and_keeps_what_reached_the_disk(command: Command) -> None:
    supervisor = command.up(only="redis")
    client = redis.Redis.from_url(command.settings.urls.redis)
    client.set("kept", "yes")
    # 1: this server's own append-only file has been synced.
    assert client.waitaof(1, 0, 0)[0] == 1
    before = command.component("redis")

    os.kill(command.pid("redis"), signal.SIGKILL)
    until_blocking(lambda: command.component("redis").restarts == 1 and command.is_ready(supervisor.pid))

    assert command.component("redis").pid != before.pid
    assert client.get("kept") == b"yes"


def test_the_supervisor_killed_with_9_leaves_no_process(command: Command) -> None:
    supervisor = command.up(only="redis,postgres,kafka")
    supervisor.kill()
    supervisor.wait(timeout=10)
    until_blocking(lambda: command.left_behind() == [])
    assert command.run("status").returncode == 3


def test_a_frozen_component_does_not_outlive_a_killed_supervisor(command: Command) -> None:
    supervisor = command.up(only="redis")
    os.kill(command.pid("redis"), signal.SIGSTOP)
    supervisor.kill()
    supervisor.wait(timeout=10)
    until_blocking(lambda: command.left_behind() == [])


def test_a_killed_watchdog_is_replaced_and_still_leaves_no_process(command: Command) -> None:
    supervisor = command.up(only="redis")
    first = command.watchdog()
    first.kill()
    os.kill(command.pid("redis"), signal.SIGKILL)
    until_blocking(lambda: command.component("redis").restarts == 1 and command.is_ready(supervisor.pid))

    supervisor.kill()
    supervisor.wait(timeout=10)

    until_blocking(lambda: command.left_behind() == [])


def test_a_start_right_after_a_killed_supervisor_waits_for_its_remains(command: Command) -> None:
    command.up(only="redis").kill()
    command.up(only="redis")
    assert command.component("redis").state == "ready"


def test_a_taken_port_is_named_with_the_variable_that_moves_it(command: Command) -> None:
    port = command.settings.redis_port
    with socket.create_server((HOST, port)):
        refused = command.run("up", "--only", "redis")
    assert refused.returncode == 1
    assert f"port {port} for redis cannot be bound (in use by " in refused.stderr
    assert "CARTSTREAM_REDIS_PORT=" in refused.stderr
    assert command.left_behind() == []


def test_a_second_supervisor_on_the_same_data_is_refused_with_the_pid_of_the_first(command: Command) -> None:
    supervisor = command.up(only="redis")
    refused = command.run("up", "--only", "redis")
    assert refused.returncode == 1
    assert f"pid {supervisor.pid}" in refused.stderr


def test_a_component_that_cannot_start_fails_with_its_last_lines(command: Command) -> None:
    (command.settings.data_dir / "redis").mkdir(parents=True)
    (command.settings.data_dir / "redis" / "appendonlydir").write_text("not a folder")
    failed = command.run("up", "--only", "redis")
    assert failed.returncode == 1
    assert "redis failed to start" in failed.stderr
    assert "appendonlydir" in failed.stderr
    assert command.left_behind() == []


def test_a_wrong_setting_is_named_with_a_right_value(command: Command) -> None:
    command.env["CARTSTREAM_KAFKA_PORT"] = "ninety"
    refused = command.run("up", "--only", "redis")
    assert refused.returncode == 1
    assert "CARTSTREAM_KAFKA_PORT: " in refused.stderr
    assert "CARTSTREAM_KAFKA_PORT=9092" in refused.stderr


def test_status_says_so_when_nothing_runs(command: Command) -> None:
    nothing = command.run("status")
    assert nothing.returncode == 3
    assert "nothing runs" in nothing.stdout


def test_the_status_file_is_gone_after_a_stop(command: Command, status_file: Path) -> None:
    command.up(only="redis")
    assert status_file.exists()
    command.run("stop")
    assert not status_file.exists()


def test_a_stop_while_kafka_is_fetched_does_not_wait_for_the_fetch(command: Command) -> None:
    _slow_maven(command)
    supervisor = command.launch(only="kafka")
    until_blocking(lambda: "fetching Kafka" in command.output.read_text())
    until_blocking(command.left_behind)

    supervisor.send_signal(signal.SIGTERM)

    assert supervisor.wait(timeout=120) == 0
    assert command.left_behind() == []


def test_a_fetch_does_not_outlive_a_killed_supervisor(command: Command) -> None:
    maven = _slow_maven(command)
    supervisor = command.launch(only="kafka")
    until_blocking(lambda: any(str(maven) in process.cmdline() for process in command.left_behind()))
    supervisor.kill()
    supervisor.wait(timeout=10)
    until_blocking(lambda: command.left_behind() == [])


def test_no_maven_is_an_error_that_says_how_to_get_it(command: Command, tmp_path: Path) -> None:
    command.env["CARTSTREAM_CACHE_DIR"] = str(tmp_path / "cache")
    command.env["PATH"] = str(tmp_path)
    refused = command.run("up", "--only", "kafka")
    assert refused.returncode == 1
    assert "apt install maven" in refused.stderr


def test_help_names_every_command_and_loads_none_of_them(command: Command) -> None:
    shown = command.run("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


def _slow_maven(command: Command) -> Path:
    """A Maven that never ends, and an empty cache that makes it needed."""
    programs = command.folder / "programs"
    programs.mkdir()
    maven = programs / "mvn"
    maven.write_text("#!/bin/sh\nsleep 600\n")
    maven.chmod(0o755)
    command.env["PATH"] = f"{programs}:{command.env['PATH']}"
    command.env["CARTSTREAM_CACHE_DIR"] = str(command.folder / "cache")
    return maven
