"""`cartstream topics register`: the schemas of records, in a schema registry."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from runtime.settings import load
from topics.errors import SchemaRegistryError
from topics.schema_registry import Compatibility, Registered, register
from topics.settings import SchemaRegistrySettings


@click.command("register")
@click.option(
    "--compatibility",
    type=click.Choice([each.value for each in Compatibility]),
    default=Compatibility.NONE.value,
    show_default=True,
    help="What the registry shall compare new versions with.",
)
@click.option("--dry-run", is_flag=True, help="Ask the registry what is missing, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
def command(*, compatibility: str, dry_run: bool, as_json: bool) -> None:
    """Register the JSON Schemas of all records with a Confluent-compatible registry.

    Subjects are `<topic>-value`. Doing it again changes nothing. Nothing needs the registry: it is for your
    consumers' tools. Where it is: CARTSTREAM_SCHEMA_REGISTRY_URL.
    """
    settings = load(SchemaRegistrySettings)
    try:
        done = asyncio.run(register(settings, Compatibility(compatibility), dry_run=dry_run))
    except SchemaRegistryError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        shown = {"dry_run": dry_run, "subjects": done}
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
    else:
        _show(done, dry_run=dry_run)


def _show(subjects: Sequence[Registered], *, dry_run: bool) -> None:
    for subject in subjects:
        for version in subject.versions:
            click.echo(f"{subject.subject}: version {version} {'is missing' if dry_run else 'registered'}")
        if subject.compatibility is not None:
            done = "is not" if dry_run else "set to"
            click.echo(f"{subject.subject}: compatibility {done} {subject.compatibility}")
    count = sum(len(subject.versions) for subject in subjects)
    click.echo(
        f"{len(subjects)} subjects, nothing was changed: {count} schemas to register"
        if dry_run
        else f"{len(subjects)} subjects, {count} schemas registered"
    )
