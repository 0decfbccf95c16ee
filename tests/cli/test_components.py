"""Which components a stack has when nobody names any."""

import os
import subprocess
from ctypes.util import find_library
from pathlib import Path

import pytest

from devstack.components import COMPONENTS, HISTORY, specs, usual
from devstack.settings import StackSettings
from devstack.valkey import redis_component, valkey_server
from tests.support.waiting import until_blocking


def test_the_history_sink_starts_only_where_there_is_a_history() -> None:
    off, on = StackSettings(history=False), StackSettings(history=True)
    assert set(COMPONENTS) - set(usual(off)) == {HISTORY}
    assert usual(on) == list(COMPONENTS)


def test_every_process_is_told_whether_there_is_a_history() -> None:
    settings = StackSettings(history=True, history_days=5)
    told = {spec.name: spec.env for spec in specs(settings, ["gateway", "jobs", HISTORY])}
    for env in told.values():
        assert (env["CARTSTREAM_HISTORY"], env["CARTSTREAM_HISTORY_DAYS"]) == ("true", "5")


def test_several_compaction_workers_append_their_numbers_to_one_name() -> None:
    (one,) = specs(StackSettings(), ["compaction"])
    (several,) = specs(StackSettings(compaction_workers=3), ["compaction"])
    assert one.env["CARTSTREAM_GROUP_INSTANCE_ID"] == "compaction-0"
    assert "CARTSTREAM_WORKERS" not in one.env
    assert several.env["CARTSTREAM_GROUP_INSTANCE_ID"] == "compaction"
    assert several.env["CARTSTREAM_WORKERS"] == "3"


@pytest.mark.skipif(find_library("jemalloc") is None, reason="needs libjemalloc2")
def test_valkey_runs_with_the_jemalloc_of_the_system(tmp_path: Path) -> None:
    environment = os.environ | redis_component(StackSettings(data_dir=tmp_path)).env
    argv = (valkey_server(), "--port", "0", "--unixsocket", str(tmp_path / "socket"), "--dir", str(tmp_path))
    with subprocess.Popen(argv, env=environment) as process:
        try:
            maps = Path(f"/proc/{process.pid}/maps")
            until_blocking(lambda: "jemalloc" in maps.read_text(), "jemalloc is loaded")
        finally:
            process.terminate()
