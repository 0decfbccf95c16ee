"""How Faust divides partitions among the workers of a group: a newcomer may get few, nobody gets too many."""

from math import ceil

import pytest
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor

PARTITIONS = 16
TOPICS = {"cart-changed", "carts"}
Shares = dict[str, set[int]]


def divided(held: Shares, workers: list[str]) -> Shares:
    """Who has which partitions after a rebalance of these workers, who had what is `held`."""
    before = {worker: CopartitionedAssignment(set(held.get(worker, ())), set(), TOPICS) for worker in workers}
    after = CopartitionedAssignor(TOPICS, before, PARTITIONS, 0).get_assignment()
    return {worker: set(share.actives) for worker, share in after.items()}


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_worker_has_more_than_its_share_however_they_come_and_go(at_once: int) -> None:
    workers = [f"worker-{number}" for number in range(9)]
    held: Shares = {}
    coming = [workers[: number + 1] for number in range(0, 9, at_once)]
    for there in (*coming, *reversed(coming)):
        held = divided(held, there)
        shares = [len(share) for share in held.values()]
        assert sum(shares) == PARTITIONS
        assert max(shares) == ceil(PARTITIONS / len(there))
        assert min(shares) > 0
