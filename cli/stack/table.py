"""The components of the stack, in one table: what starts, after what, and how one knows that it works."""

from collections.abc import Iterable
from dataclasses import replace

from cli.stack.errors import StackError
from cli.stack.kafka import kafka_component
from cli.stack.postgres import postgres_component
from cli.stack.settings import KAFKA, POSTGRES, REDIS, StackSettings
from cli.stack.spec import Build, ComponentSpec
from cli.stack.valkey import redis_component

SERVERS: dict[str, Build] = {
    REDIS: redis_component,
    POSTGRES: postgres_component,
    KAFKA: kafka_component,
}
COMPONENTS: dict[str, Build] = {**SERVERS}


def specs(settings: StackSettings, names: Iterable[str]) -> list[ComponentSpec]:
    """The named components in the table's order, each depending only on others of them.

    Raises StackError for a name that is not in the table.
    """
    wanted = set(names)
    if unknown := sorted(wanted - COMPONENTS.keys()):
        raise StackError(f"no such component: {', '.join(unknown)}. There are: {', '.join(COMPONENTS)}")
    built = [build(settings) for name, build in COMPONENTS.items() if name in wanted]
    return [replace(spec, depends=tuple(name for name in spec.depends if name in wanted)) for spec in built]
