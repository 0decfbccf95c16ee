"""Which components a stack has when nobody names any."""

from devstack.components import COMPONENTS, HISTORY, specs, usual
from devstack.settings import StackSettings


def test_the_history_sink_starts_only_where_there_is_a_history() -> None:
    off, on = StackSettings(history=False), StackSettings(history=True)
    assert set(COMPONENTS) - set(usual(off)) == {HISTORY}
    assert usual(on) == list(COMPONENTS)


def test_every_process_is_told_whether_there_is_a_history() -> None:
    settings = StackSettings(history=True, history_days=5)
    told = {spec.name: spec.env for spec in specs(settings, ["gateway", "jobs", HISTORY])}
    for env in told.values():
        assert (env["CARTSTREAM_HISTORY"], env["CARTSTREAM_HISTORY_DAYS"]) == ("true", "5")
