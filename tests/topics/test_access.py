"""The table of ACLs: complete, on its page as it is, and printed as commands that a shell can run."""

import shlex

import pytest

from runtime.kafka.rights import Operation
from runtime.owners import ProductsOwner
from tests.docs.tables import ROOT
from topics.access import (
    GATEWAY,
    JOBS,
    ROLES,
    SINK_POSTGRES,
    STREAM_COMPACTION,
    Resource,
    Role,
    Rule,
    lacking,
    markdown,
)
from topics.acls import Acl, acls, commands
from topics.groups import GROUPS, POSTGRES_SINK, Group
from topics.names import in_kafka
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PRODUCTS, TOPICS

PAGE = ROOT / "docs" / "how-to" / "secure-kafka.md"


def test_the_page_has_the_table_as_the_code_has_it() -> None:
    # The page is that of a shop without a prefix.
    table = markdown().replace(in_kafka(""), "")
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE}: python -m topics.access prints the table"


def test_every_topic_and_every_group_is_somebody_s() -> None:
    processes = [role for role in ROLES if role.name not in {"operator", "admin", "repartition"}]
    written = {rule.name for role in processes for rule in role.rules() if rule.operation is Operation.WRITE}
    joined = {
        rule.name
        for role in processes
        for rule in role.rules()
        if rule.resource is Resource.GROUP and rule.operation is Operation.READ
    }
    assert written == {topic.name for topic in TOPICS}
    assert joined == {group.name for group in GROUPS}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_who_joins_a_group_reads_its_topic(group: Group) -> None:
    for role in ROLES:
        rules = role.rules()
        if Rule(Resource.GROUP, group.name, Operation.READ) in rules:
            assert Rule(Resource.TOPIC, group.topic, Operation.READ) in rules
            assert role.commands == group.command


def test_compaction_alone_writes_to_carts() -> None:
    rule = Rule(Resource.TOPIC, CARTS.name, Operation.WRITE)
    assert [role for role in ROLES if rule in role.rules()] == [STREAM_COMPACTION]


def test_a_gateway_writes_products_only_if_another_system_owns_them() -> None:
    def topics_of(role: Role, owner: ProductsOwner) -> set[str]:
        return {rule.name for rule in role.rules(owner)}

    assert topics_of(GATEWAY, ProductsOwner.INTERNAL) == {CART_CHANGED.name}
    assert topics_of(GATEWAY, ProductsOwner.EXTERNAL) == {CART_CHANGED.name, PRODUCTS.name}
    assert topics_of(JOBS, ProductsOwner.INTERNAL) == topics_of(JOBS, ProductsOwner.EXTERNAL)


def test_a_right_is_lacking_if_the_cluster_says_so() -> None:
    carts, letters = (Rule(Resource.TOPIC, topic.name, Operation.READ) for topic in (CARTS, DEAD_LETTERS))
    rights = {
        (Resource.TOPIC, CARTS.name): frozenset({Operation.DESCRIBE}),
        (Resource.TOPIC, DEAD_LETTERS.name): None,
    }
    assert lacking([carts, letters], rights) == [carts]
    assert str(carts) == f"Read on topic {CARTS.name}"


def test_the_commands_give_what_the_table_says() -> None:
    wanted = acls([SINK_POSTGRES, GATEWAY], ProductsOwner.INTERNAL, "User:CN={role},O=It's a shop")
    printed = [shlex.split(line) for line in commands(wanted, "kafka-1:9092")]
    assert all(words[:3] == ["kafka-acls", "--bootstrap-server", "kafka-1:9092"] for words in printed)
    assert [words[words.index("--allow-principal") + 1 :] for words in printed] == [
        ["User:CN=sink-postgres,O=It's a shop", "--operation", "Read", "--topic", CARTS.name],
        [
            "User:CN=sink-postgres,O=It's a shop",
            *("--operation", "Describe", "--operation", "DescribeConfigs", "--topic", CART_CHANGED.name),
        ],
        ["User:CN=sink-postgres,O=It's a shop", "--operation", "Write", "--topic", DEAD_LETTERS.name],
        ["User:CN=sink-postgres,O=It's a shop", "--operation", "Read", "--group", POSTGRES_SINK],
        ["User:CN=gateway,O=It's a shop", "--operation", "Write", "--topic", CART_CHANGED.name],
    ]


def test_of_the_cluster_there_is_one() -> None:
    rule = Rule(Resource.CLUSTER, "kafka-cluster", Operation.ALTER)
    (line,) = commands([Acl("User:admin", rule)], "kafka-1:9092")
    assert line.endswith("--allow-principal User:admin --operation Alter --cluster")
