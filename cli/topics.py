"""`cartstream topics`: bring the topics to what the registry says, or check that they are."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import click
import msgspec
from pydantic import Field
from rich.console import Console
from rich.table import Table

from cli import topics_register
from cli.repartition import command as repartition_command
from runtime.owners import OwnerSettings
from runtime.settings import KafkaSettings, load
from topics.access import ROLES, role
from topics.acls import PRINCIPAL, Acl, acls, commands, make
from topics.apply import Applied, apply, check, errors_in
from topics.cluster import cluster
from topics.errors import TopicsDifferError, TopicsError
from topics.generations import Generation, generations
from topics.plan import Difference
from topics.registry import TOPICS, TopicSpec
from topics.settings import TopicSettings

T = TypeVar("T")


class TopicCommandSettings(KafkaSettings, TopicSettings):
    """Where the cluster is and how its topics are laid out, from `CARTSTREAM_*`."""

    replication: int | None = Field(
        default=None,
        ge=1,
        le=15,
        description="copies of every record; by default three, or as many as there are brokers",
    )


@click.group()
def topics() -> None:
    """Create, alter and check the Kafka topics, and who may use them; register their schemas."""


topics.add_command(topics_register.command)


allow_single = click.option(
    "--allow-single", is_flag=True, help="Accept fewer than three copies of each record: for development."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")


@topics.command("apply")
@allow_single
@click.option("--dry-run", is_flag=True, help="Ask the cluster what would be done, and change nothing.")
@as_json
def apply_command(*, allow_single: bool, dry_run: bool, as_json: bool) -> None:
    """Create missing topics and alter settings that differ. Doing it again changes nothing.

    It may be run on a cluster at work. Partitions are never changed. A setting that the cluster refuses is
    named, with what it means, and left out.
    """
    settings = load(TopicCommandSettings)
    applied = _run(
        apply(
            settings,
            partitions=settings.partitions,
            others=settings.other_partitions,
            replicas=settings.replication,
            allow_single=allow_single,
            dry_run=dry_run,
        )
    )
    if as_json:
        _print_json(applied)
    else:
        _show_applied(Console(), applied, settings.partitions, dry_run=dry_run)


@topics.command("check")
@allow_single
@as_json
def check_command(*, allow_single: bool, as_json: bool) -> None:
    """Compare the topics with the registry; exit 1 if something must be mended."""
    settings = load(TopicCommandSettings)
    differences = _run(
        check(
            settings,
            partitions=settings.partitions,
            others=settings.other_partitions,
            replicas=settings.replication,
            allow_single=allow_single,
        )
    )
    errors = errors_in(differences)
    known = _run(_generations(settings))
    if as_json:
        _print_json({"ok": not errors, "differences": differences, "generations": known})
    else:
        console = Console()
        if differences:
            console.print(_table("Differences", differences))
        console.print(
            f"{len(TOPICS)} topics, {len(errors)} errors, {len(differences) - len(errors)} warnings"
        )
        for each in known:
            state = "live" if each.is_open else "closed"
            console.print(
                f"generation {each.number} of the topics of carts: {each.partitions} partitions, {state}"
            )
    if errors:
        sys.exit(1)


@topics.command("acls")
@click.option(
    "--role",
    "names",
    multiple=True,
    type=click.Choice([each.name for each in ROLES]),
    help="Only of this role; may be repeated.",
)
@click.option(
    "--principal",
    default=PRINCIPAL,
    show_default=True,
    help="Whom the brokers know as a role: {role} becomes its name.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Make those that the cluster lacks.")
@as_json
def acls_command(names: Sequence[str], principal: str, *, is_applied: bool, as_json: bool) -> None:
    """Print the ACLs that each role needs, as commands of kafka-acls, or make them.

    A role is a process, or who runs commands. None gets more than it needs; no ACL is ever taken away.
    """
    settings, owners = load(KafkaSettings), load(OwnerSettings)
    chosen = [role(name) for name in names] or ROLES
    wanted = acls(chosen, owners.products_owner, principal)
    if not is_applied:
        if as_json:
            _print_json([_shown(acl) for acl in wanted])
        else:
            click.echo("\n".join(commands(wanted, settings.kafka_bootstrap)))
        return
    made = _run(make(settings, wanted))
    if as_json:
        _print_json({"made": [_shown(acl) for acl in made]})
    else:
        click.echo("".join(f"{acl.principal}: {acl.rule}\n" for acl in made), nl=False)
        click.echo(f"{len(wanted)} ACLs, {len(made)} made")


topics.add_command(repartition_command)


async def _generations(settings: KafkaSettings) -> list[Generation]:
    async with cluster(settings) as connection:
        return list((await generations(connection)).values())


def _shown(acl: Acl) -> dict[str, str]:
    resource, name, operation = acl.rule
    return {
        "principal": acl.principal,
        "resource": resource.value,
        "name": name,
        "operation": operation.label,
    }


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except TopicsDifferError as error:
        Console(stderr=True).print(_table("In the way", error.differences))
        raise click.ClickException("nothing was changed") from error
    except TopicsError as error:
        raise click.ClickException(str(error)) from error


def _show_applied(console: Console, applied: Applied, partitions: int, *, dry_run: bool) -> None:
    if applied.created:
        title = "Topics to create" if dry_run else "Topics created"
        created = [spec for spec in TOPICS if spec.name in applied.created]
        console.print(_topics_table(title, created, partitions))
    if applied.altered:
        console.print(_table("Settings to alter" if dry_run else "Settings altered", applied.altered))
    if applied.warnings:
        console.print(_table("Warnings", applied.warnings))
    topics, settings = len(applied.created), len(applied.altered)
    console.print(
        f"{len(TOPICS)} topics, nothing was changed: {topics} to create, {settings} settings to alter"
        if dry_run
        else f"{len(TOPICS)} topics ready: {topics} created, {settings} settings altered"
    )


def _topics_table(title: str, specs: Sequence[TopicSpec], partitions: int) -> Table:
    table = Table("topic", "key", "partitions", "cleanup", "written by", "for", title=title)
    for spec in specs:
        table.add_row(spec.name, spec.key, str(partitions), spec.cleanup, spec.written_by, spec.purpose)
    return table


def _table(title: str, differences: Sequence[Difference]) -> Table:
    alike: dict[tuple[str, ...], list[str]] = {}
    for diff in differences:
        key: tuple[str, ...] = (diff.setting, diff.found, diff.expected, diff.severity, diff.advice)
        alike.setdefault(key, []).append(diff.topic)
    table = Table("topics", "setting", "found", "expected", "", "what to do", title=title)
    for (setting, *rest), names in alike.items():
        table.add_row("all" if len(names) == len(TOPICS) else "\n".join(names), setting, *rest)
    return table


def _print_json(document: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
