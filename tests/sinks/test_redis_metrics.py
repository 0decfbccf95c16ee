"""What `sinks redis` says at `/metrics` before anything has happened."""

import pytest
from prometheus_client import REGISTRY

from sinks.redis.metrics import NOT_REPUBLISHED
from sinks.redis.republish import Why


@pytest.mark.parametrize("why", [*Why, "in_vain"])
def test_lost_changes_are_counted_from_nought(why: str) -> None:
    (counted,) = NOT_REPUBLISHED.describe()
    assert REGISTRY.get_sample_value(f"{counted.name}_total", {"why": why}) is not None
