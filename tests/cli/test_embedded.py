"""The stack as a Python object does to servers what the fault tests need."""

from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from devstack.embedded import EmbeddedStack
from devstack.errors import ComponentFailedError
from devstack.spec import RestartPolicy, State
from tests.support.waiting import until_blocking


def test_a_killed_component_stays_dead_until_it_is_started_and_has_its_data(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"redis"}) as stack:
        client = redis.Redis.from_url(stack.urls.redis)
        client.set("kept", "yes")
        assert client.waitaof(1, 0, 0)[0] == 1
        component = stack.component("redis")

        component.kill()
        assert component.pid is None
        with pytest.raises(redis.ConnectionError):
            client.ping()

        component.start()
        assert client.get("kept") == b"yes"


def test_a_killed_component_comes_back_by_itself_when_asked_to(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"redis"}, policy=RestartPolicy.ALWAYS) as stack:
        component = stack.component("redis")
        component.kill()
        component.wait_ready()
        assert component.restarts == 1
        assert redis.Redis.from_url(stack.urls.redis).ping()


def test_a_paused_component_answers_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"redis"}) as stack:
        component = stack.component("redis")
        component.pause()
        with pytest.raises(redis.TimeoutError):
            redis.Redis.from_url(stack.urls.redis, socket_timeout=0.2).ping()
        component.resume()
        assert redis.Redis.from_url(stack.urls.redis).ping()


def test_a_paused_postgres_stands_still_with_all_its_processes(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"postgres"}) as stack:
        component = stack.component("postgres")
        with psycopg.connect(stack.urls.postgres) as connection:
            server = psutil.Process(component.pid)
            processes = [server, *server.children(recursive=True)]
            assert connection.info.backend_pid in {process.pid for process in processes}
            component.pause()
            until_blocking(lambda: all(process.status() == psutil.STATUS_STOPPED for process in processes))
            component.resume()
            assert connection.execute("SELECT 1").fetchone() == (1,)
        component.pause()
        component.kill()
        component.start()
        with psycopg.connect(stack.urls.postgres) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_restart_is_another_process_on_the_same_port(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"redis"}) as stack:
        before = stack.component("redis").pid
        stack.restart("redis")
        assert stack.component("redis").pid not in (before, None)
        assert stack.component("redis").state is State.READY


def test_signalling_what_does_not_run_is_an_error(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"redis"}) as stack:
        stack.component("redis").stop()
        with pytest.raises(ComponentFailedError, match="not running"):
            stack.component("redis").kill()


def test_postgres_killed_with_9_can_be_started_at_once(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, only={"postgres"}) as stack:
        stack.component("postgres").kill()
        stack.component("postgres").start()
        assert stack.component("postgres").state is State.READY
