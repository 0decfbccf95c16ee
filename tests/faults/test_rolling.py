"""Processes are restarted in the order in which an upgrade has to go."""

from tests.faults.rolling import one_by_one
from tests.faults.schedule import Kind
from tests.faults.topology import Topology


def test_readers_get_newer_code_before_writers_and_older_code_after_them() -> None:
    up, down = (one_by_one(Topology(2), kind) for kind in (Kind.NEWER, Kind.OLDER))
    assert (up[0], up[-1]) == ("compaction", "gateway-2")
    assert (down[0], down[-1]) == ("gateway-2", "compaction")
