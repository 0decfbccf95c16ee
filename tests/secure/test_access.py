"""Each role may do what the table says, and nothing else."""

import pytest
import stamina
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError

from runtime.kafka.rights import Operation, group_rights, topic_rights
from tests.ops.command_line import CommandLine
from tests.secure.secure_broker import ROOT, STRANGER, SecureBroker
from tests.support.waiting import PATIENCE_S, until
from topics.access import ROLES, SINK_POSTGRES, Resource, Role
from topics.apply import check, require
from topics.committed import NO_COORDINATOR_YET
from topics.errors import ClusterRefusesError
from topics.groups import GROUPS
from topics.names import GENERATION
from topics.registry import CART_CHANGED, CART_TOPICS, CARTS, PARTITIONS, TOPICS, in_generation

pytestmark = pytest.mark.secure

_IMPLIED = {
    Operation.READ: {Operation.DESCRIBE},
    Operation.WRITE: {Operation.DESCRIBE},
    Operation.DELETE: {Operation.DESCRIBE},
    Operation.ALTER_CONFIGS: {Operation.DESCRIBE_CONFIGS},
}


def expected(role: Role, resource: Resource, name: str) -> frozenset[Operation]:
    """What the table says, and what that includes."""
    own = {rule.operation for rule in role.rules() if (rule.resource, rule.name) == (resource, name)}
    return frozenset(own).union(*(_IMPLIED.get(operation, set()) for operation in own))


async def rights_in(group: str, admin: AIOKafkaAdminClient) -> frozenset[Operation] | None:
    """What the principal may do with a group, once the broker has coordinators."""
    async for attempt in stamina.retry_context(
        on=NO_COORDINATOR_YET, attempts=None, timeout=PATIENCE_S, wait_max=0.5
    ):
        with attempt:
            return await group_rights(admin, group)
    raise AssertionError("there is no end to the attempts")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_a_role_has_the_rights_of_the_table_and_no_others(role: Role, broker: SecureBroker) -> None:
    admin = AIOKafkaAdminClient(**broker.settings(f"cartstream-{role.name}").client_options())
    await admin.start()
    try:
        following = [in_generation(topic, GENERATION + 1) for topic in CART_TOPICS]
        names = [topic.name for topic in (*TOPICS, *following)]
        assert await topic_rights(admin, names) == {
            name: expected(role, Resource.TOPIC, name) for name in names
        }
        for group in GROUPS:
            assert await rights_in(group.name, admin) == expected(role, Resource.GROUP, group.name)
    finally:
        await admin.close()


async def test_the_postgres_sink_cannot_write_to_carts(broker: SecureBroker) -> None:
    kafka = broker.settings("cartstream-sink-postgres")
    place = TopicPartition(CARTS.name, 0)
    async with AIOKafkaConsumer(**kafka.client_options()) as consumer:
        before = await consumer.end_offsets([place])
        async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(CARTS.name, b"{}", b"user:1", partition=0)
        assert await consumer.end_offsets([place]) == before


async def test_what_a_role_may_do_a_stranger_may_not(broker: SecureBroker) -> None:
    with pytest.raises(ClusterRefusesError) as refused:
        await require(
            broker.settings(STRANGER),
            partitions=PARTITIONS,
            specs=ROLES[0].topics,
            role=ROLES[0],
        )
    message = str(refused.value)
    assert f"the principal User:{STRANGER}" in message
    assert f"Write on topic {CART_CHANGED.name}" in message
    assert "cartstream topics acls --role gateway" in message


async def test_a_topic_that_nobody_shows_is_not_called_missing(broker: SecureBroker) -> None:
    with pytest.raises(ClusterRefusesError, match=f"shows the principal User:{STRANGER} nothing of"):
        await check(broker.settings(STRANGER), partitions=PARTITIONS, allow_single=True)


async def test_acls_are_made_once_and_again_where_one_is_missing(broker: SecureBroker) -> None:
    commands = CommandLine(broker.environment(ROOT))
    arguments = ("topics", "acls", "--role", "sink-postgres", "--principal", "User:other-{role}", "--apply")
    first = await commands.json(*arguments)
    assert {(acl["resource"], acl["name"], acl["operation"]) for acl in first["made"]} == {
        (rule.resource, rule.name, rule.operation.label) for rule in SINK_POSTGRES.rules()
    }
    assert {acl["principal"] for acl in first["made"]} == {"User:other-sink-postgres"}

    async def settled() -> bool:
        again = await commands.run(*arguments)
        return again.output == f"{len(SINK_POSTGRES.rules())} ACLs, 0 made\n"

    # The controller has them at once, the broker a moment later.
    await until(settled, "the ACLs are known")


async def test_who_may_not_make_acls_is_told_so(broker: SecureBroker) -> None:
    answer = await CommandLine(broker.environment(STRANGER)).run("topics", "acls", "--apply")
    assert answer.status == 1
    assert "Kafka refused to list the ACLs" in answer.errors
