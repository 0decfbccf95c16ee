"""What each role may do in Kafka: the one table of ACLs. A role is a process, or who runs commands.

`python -m topics.access` prints it as the table of docs/how-to/secure-kafka.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final, NamedTuple

from runtime.kafka.rights import Operation
from runtime.owners import ProductsOwner
from topics.groups import (
    CATALOGUE_SINK,
    COMPACTION,
    GROUPS,
    HISTORY_SINK,
    MAIL_SINK,
    MERGES,
    POSTGRES_SINK,
    REDIS_SINK,
)
from topics.names import GENERATION
from topics.registry import (
    CART_ABANDONED,
    CART_CHANGED,
    CART_MERGES,
    CART_TOPICS,
    CARTS,
    DEAD_LETTERS,
    ORDERS,
    PRODUCTS,
    PURGE_FLOORS,
    TOPICS,
    TopicSpec,
    in_generation,
)

CLUSTER: Final = "kafka-cluster"
"""The name of the only resource of its kind."""

_READ: Final = (Operation.READ,)
_WRITE: Final = (Operation.WRITE,)
_BOTH: Final = (Operation.READ, Operation.WRITE)
_DESCRIBE: Final = (Operation.DESCRIBE,)


class Resource(StrEnum):
    """What an ACL is about, as `kafka-acls` calls it."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


class Rule(NamedTuple):
    """One operation on one resource. Read and Write include Describe."""

    resource: Resource
    name: str
    operation: Operation

    def __str__(self) -> str:
        return f"{self.operation.label} on {self.resource} {self.name}"


class Grant(NamedTuple):
    """Operations on some resources of a kind; with `owner`, only if that is who owns products."""

    operations: tuple[Operation, ...]
    resource: Resource
    names: tuple[str, ...]
    owner: ProductsOwner | None = None


class Role(NamedTuple):
    """Who connects to Kafka, which commands of `cartstream` it runs, and the least that they need."""

    name: str
    commands: str
    grants: tuple[Grant, ...]

    def rules(self, owner: ProductsOwner | None = None) -> list[Rule]:
        """Its rules where `owner` owns products, or (None) wherever they are owned."""
        return [
            Rule(grant.resource, name, operation)
            for grant in self.grants
            if owner is None or grant.owner in {None, owner}
            for name in grant.names
            for operation in grant.operations
        ]

    @property
    def topics(self) -> list[TopicSpec]:
        """The topics of this generation that it may use."""
        names = _names(self.rules(), Resource.TOPIC)
        return [spec for spec in TOPICS if spec.name in names]

    @property
    def groups(self) -> list[str]:
        """The consumer groups that it may use."""
        return _names(self.rules(), Resource.GROUP)


def _on(operations: tuple[Operation, ...], *topics: TopicSpec, owner: ProductsOwner | None = None) -> Grant:
    return Grant(operations, Resource.TOPIC, tuple(spec.name for spec in topics), owner)


def _in(operations: tuple[Operation, ...], *groups: str) -> Grant:
    return Grant(operations, Resource.GROUP, groups)


_OPEN: Final = _on((Operation.DESCRIBE_CONFIGS,), CART_CHANGED)
"""Whether carts are in this generation of their topics (topics.plan.CLOSED)."""

GATEWAY: Final = Role(
    "gateway", "gateway", (_on(_WRITE, CART_CHANGED), _on(_WRITE, PRODUCTS, owner=ProductsOwner.EXTERNAL))
)
STREAM_COMPACTION: Final = Role(
    "compaction",
    "streams compaction",
    (
        _on(_READ, CART_CHANGED),
        _on(_BOTH, CARTS, PURGE_FLOORS),
        _on(_WRITE, DEAD_LETTERS),
        _OPEN,
        _in(_READ, COMPACTION),
    ),
)
STREAM_MERGES: Final = Role(
    "merges",
    "streams merges",
    # Its changes wait in the Redis outboxes, and gateways publish them: it only looks at the partitions.
    (
        _on(_READ, CART_MERGES),
        _on((Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS), CART_CHANGED),
        _on(_WRITE, DEAD_LETTERS),
        _in(_READ, MERGES),
    ),
)
SINK_POSTGRES: Final = Role(
    "sink-postgres",
    "sinks postgres",
    (
        _on(_READ, CARTS),
        _on((Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS), CART_CHANGED),
        _on(_WRITE, DEAD_LETTERS),
        _in(_READ, POSTGRES_SINK),
    ),
)
SINK_REDIS: Final = Role(
    "sink-redis",
    "sinks redis",
    (
        _on(_READ, CARTS, PURGE_FLOORS),
        # It reads what compaction has not folded yet, and publishes again what one of them has lost.
        _on(_BOTH, CART_CHANGED, PRODUCTS),
        _on(_WRITE, DEAD_LETTERS),
        _OPEN,
        _in(_READ, REDIS_SINK, CATALOGUE_SINK),
        _in(_DESCRIBE, COMPACTION),
    ),
)
SINK_MAIL: Final = Role(
    "sink-mail", "sinks mail", (_on(_READ, ORDERS), _on(_WRITE, DEAD_LETTERS), _in(_READ, MAIL_SINK))
)
SINK_HISTORY: Final = Role(
    "sink-history",
    "sinks history",
    (_on(_READ, CART_CHANGED), _on(_WRITE, DEAD_LETTERS), _OPEN, _in(_READ, HISTORY_SINK)),
)
JOBS: Final = Role(
    "jobs",
    "jobs",
    (_on(_WRITE, CART_CHANGED, PRODUCTS, ORDERS, CART_MERGES, CART_ABANDONED, DEAD_LETTERS), _OPEN),
)
OPERATOR: Final = Role(
    "operator",
    "ops, top, verify, carts, workers, dlq, erase, restore, rebuild",
    (
        _on(_BOTH, CART_CHANGED, ORDERS, DEAD_LETTERS),
        _on(_READ, CARTS, PURGE_FLOORS, PRODUCTS, CART_MERGES, CART_ABANDONED),
        _in(_DESCRIBE, *(group.name for group in GROUPS)),
    ),
)
ADMIN: Final = Role(
    "admin",
    "topics",
    (
        _on(
            (
                Operation.CREATE,
                Operation.DESCRIBE,
                Operation.DESCRIBE_CONFIGS,
                Operation.ALTER_CONFIGS,
            ),
            *TOPICS,
        ),
        # Whether brokers make topics by themselves; and the ACLs.
        Grant(
            (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS, Operation.ALTER), Resource.CLUSTER, (CLUSTER,)
        ),
    ),
)
_NEXT: Final = tuple(in_generation(spec, GENERATION + 1) for spec in CART_TOPICS)
_NEXT_CHANGED, *_NEXT_CARTS = _NEXT
REPARTITION: Final = Role(
    "repartition",
    "topics repartition",
    (
        # It closes this generation, and opens the next one.
        _on(
            (Operation.DELETE, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS),
            CART_CHANGED,
            _NEXT_CHANGED,
        ),
        # They are deleted by --drop-old, once they are of an earlier generation.
        _on((Operation.READ, Operation.DELETE), CARTS, PURGE_FLOORS),
        _on((Operation.WRITE, Operation.DELETE), *_NEXT_CARTS),
        _on((Operation.CREATE,), *_NEXT),
        _in(_DESCRIBE, COMPACTION, HISTORY_SINK),
    ),
)
"""Its topics are those of carts, of this generation and of the next one, which it makes."""

ROLES: Final = (
    GATEWAY,
    STREAM_COMPACTION,
    STREAM_MERGES,
    SINK_POSTGRES,
    SINK_REDIS,
    SINK_MAIL,
    SINK_HISTORY,
    JOBS,
    OPERATOR,
    ADMIN,
    REPARTITION,
)


def role(name: str) -> Role:
    """The role called `name`; KeyError for one that is not in the table."""
    return {each.name: each for each in ROLES}[name]


Rights = Mapping[tuple[Resource, str], AbstractSet[Operation] | None]
"""What a principal may do with resources, by kind and name; None: the cluster does not tell."""


def lacking(rules: Iterable[Rule], rights: Rights) -> list[Rule]:
    """The rules that the rights do not allow. What the cluster does not tell may be allowed."""
    return [
        rule
        for rule in rules
        if (held := rights.get((rule.resource, rule.name))) is not None and rule.operation not in held
    ]


def markdown() -> str:
    """The table of the docs: a line for each role and kind of right."""
    lines = ["| role | runs | may | on |", "|---|---|---|---|"]
    lines += [line for each in ROLES for line in _lines(each)]
    return "\n".join(lines) + "\n"


def _lines(of: Role) -> Iterator[str]:
    for number, grant in enumerate(of.grants):
        name, commands = (f"`{of.name}`", f"`{of.commands}`") if number == 0 else ("", "")
        operations = ", ".join(operation.label for operation in grant.operations)
        kind = grant.resource if len(grant.names) == 1 else f"{grant.resource}s"
        on = (
            kind
            if grant.resource is Resource.CLUSTER
            else f"{kind} {', '.join(f'`{n}`' for n in grant.names)}"
        )
        if grant.owner is not None:
            on += f", with `CARTSTREAM_PRODUCTS_OWNER={grant.owner}`"
        yield f"| {name} | {commands} | {operations} | {on} |"


def _names(rules: Iterable[Rule], resource: Resource) -> list[str]:
    return list(dict.fromkeys(rule.name for rule in rules if rule.resource is resource))


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
