"""Every mutation finds what it replaces: one that has gone stale would take no guard away."""

import importlib
import importlib.util
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults.guards import GUARDS, Guard
from tests.faults.testbed import MUTATIONS


def _mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", Path(MUTATIONS, "sitecustomize.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SITECUSTOMIZE = _mutations()


@pytest.mark.parametrize(("module", "path"), SITECUSTOMIZE.TARGETS.values(), ids=SITECUSTOMIZE.TARGETS.keys())
def test_what_a_mutation_replaces_is_there(module: str, path: str) -> None:
    assert attrgetter(path)(importlib.import_module(module)) is not None


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_taken_away_by_mutations_that_exist(guard: Guard) -> None:
    assert {*guard.mutation.split(",")} <= SITECUSTOMIZE.MUTATIONS.keys()
