"""Processes are called so that one can find them, and what has moved to another worker is counted."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from tests.faults.assignments import Assignments, Owners, owners_of
from tests.faults.topology import Topology, place_of

UUID = "-0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a"


def test_the_first_worker_has_the_name_of_its_group() -> None:
    assert Topology().workers_of("compaction") == ("compaction",)
    assert Topology(workers=3).workers_of("sink-redis") == ("sink-redis", "sink-redis-2", "sink-redis-3")


def test_a_mail_is_sent_by_one_and_jobs_are_done_by_two_at_most() -> None:
    three = Topology(workers=3)
    assert (three.workers_of("sink-mail"), three.workers_of("jobs")) == (("sink-mail",), ("jobs", "jobs-2"))


def test_a_topology_says_how_many_mail() -> None:
    assert Topology(workers=2, mailers=2).workers_of("sink-mail") == ("sink-mail", "sink-mail-2")


def test_a_name_says_its_group_and_its_number() -> None:
    assert place_of("sink-postgres") == ("sink-postgres", 1)
    assert place_of("sink-postgres-12") == ("sink-postgres", 12)
    assert place_of("gateway-2") == ("gateway", 2)


def _group(**partitions: list[int]) -> tuple[object, ...]:
    members = [
        (name + UUID, "client", "host", b"", ConsumerProtocolMemberAssignment(0, [("t", own)], b"").encode())
        for name, own in partitions.items()
    ]
    return (0, "g", "Stable", "consumer", "range", members)


def test_a_worker_is_known_by_its_instance_id() -> None:
    owners: Owners = {("g", "t", 0): "a", ("g", "t", 1): "a", ("g", "t", 2): "b"}
    assert owners_of(_group(a=[0, 1], b=[2])) == owners


def test_partitions_that_come_to_another_worker_are_counted() -> None:
    assignments = Assignments("nowhere:1")
    for found in (_group(a=[0, 1]), _group(a=[0, 1]), _group(a=[0], b=[1]), _group(a=[0]), _group(c=[0, 1])):
        assignments.compare(owners_of(found))
    assert assignments.moves == {"g": 3}
