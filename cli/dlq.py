"""`cartstream dlq`: the records that nobody could process: look at them, put them back, or drop them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from ops.dead_letter_documents import summary, whole
from ops.dead_letter_topic import DeadLetterFilter, DeadLetterId, Listed, page
from ops.dead_letters import Result, drop, fetch, find, replay
from ops.progress import bars
from ops.running import Failed, print_json, run, settings
from ops.terminal import harmless
from topics.names import of_this_shop
from topics.registry import DEAD_LETTERS

COLUMNS: Final[dict[str, Callable[[Listed], str]]] = {
    "id": lambda each: str(each.letter.id),
    "code": lambda each: each.letter.code,
    "source": lambda each: each.letter.source,
    "key": lambda each: each.letter.key_text,
    "bytes": lambda each: str(each.letter.size),
    "time": lambda each: each.letter.time,
    "handled": lambda each: "" if each.mark is None else str(each.mark.handled),
}
"""Heading and text of each column of the list."""
PAGE: Final = 50


class Id(click.ParamType):
    """`partition:offset` on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> DeadLetterId:
        """The id; tells what is wrong otherwise."""
        try:
            return value if isinstance(value, DeadLetterId) else DeadLetterId.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select dead letters."""
    command = click.option("--key", help="Only of this key, e.g. a cart's id.")(command)
    command = click.option("--code", help="Only with this error code, e.g. unknown_kind.")(command)
    return click.option(
        "--topic",
        callback=lambda _context, _option, name: name and of_this_shop(name),
        help="Only from this source topic, e.g. cart-changed; the prefix may be left out.",
    )(command)


def which(command: Callable[..., None]) -> Callable[..., None]:
    """Dead letters by id, or all that the filters select."""
    command = click.option("--dry-run", is_flag=True, help="Only say what would be done.")(command)
    command = click.option("--all", "everything", is_flag=True, help="All open ones that the filters leave.")(
        command
    )
    return click.argument("ids", nargs=-1, type=Id(), metavar="[PARTITION:OFFSET]...")(filters(command))


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("dlq")
def command() -> None:
    """Look at the dead letters, put them back into their topic, or drop them."""


@command.command("list")
@filters
@click.option("--all", "everything", is_flag=True, help="Those that were replayed or dropped, too.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=PAGE, show_default=True, help="Dead letters a page."
)
@click.option("--after", type=Id(), help="Continue after this one: where the page before ended.")
@as_json
def list_command(
    after: DeadLetterId | None,
    limit: int,
    *,
    everything: bool,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """List the dead letters that are neither replayed nor dropped."""
    found = _found(msgspec.structs.replace(_filter(wanted), after=after))
    shown, go_on = page(found if everything else _open(found), limit)
    if as_json:
        print_json(
            {"dead_letters": [summary(each) for each in shown], "after": str(go_on) if go_on else None}
        )
        return
    _print_columns(shown)
    if go_on is not None:
        click.echo(f"there are more: --after {go_on}")


@command.command("show")
@click.argument("id_", type=Id(), metavar="PARTITION:OFFSET")
@as_json
def show_command(id_: DeadLetterId, *, as_json: bool) -> None:
    """Show one dead letter: why and where processing failed, its headers, its value."""
    environment = settings()
    if id_.partition >= environment.partitions_of(DEAD_LETTERS.name):
        raise Failed(f"there is no partition {id_.partition}")
    listed = run(environment, fetch(environment, id_))
    if listed is None:
        raise Failed(f"there is no dead letter at {id_}: `cartstream dlq list` shows those that are there")
    document = whole(listed)
    if as_json:
        print_json(document)
        return
    width = max(len(name) for name in document)
    for name, value in document.items():
        text = harmless(value if isinstance(value, str) else _json(value))
        click.echo(f"{name:<{width}}  {text.replace(chr(10), chr(10) + ' ' * (width + 2))}")


@command.command("replay")
@which
@as_json
def replay_command(
    ids: Sequence[DeadLetterId],
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """Write source records back into their topic, each looked at by the newest code first.

    Doing it twice is safe. Exits with 1 if one was refused; it says why, and the dead letter stays.
    """
    listed = _chosen(ids, _filter(wanted), everything=everything)
    environment = settings()
    with bars() as shown:
        results = run(environment, replay(environment, listed, shown, dry_run=dry_run))
    _tell(results, as_json=as_json)
    if any(result.done == "refused" for result in results):
        sys.exit(1)


@command.command("drop")
@which
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def drop_command(
    ids: Sequence[DeadLetterId],
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """Take dead letters off the list. They stay in the topic until its retention ends."""
    listed = _chosen(ids, _filter(wanted), everything=everything)
    if everything and not (yes or dry_run):
        click.confirm(f"Drop {len(listed)} dead letters?", abort=True, err=True)
    environment = settings()
    _tell(run(environment, drop(environment, listed, dry_run=dry_run)), as_json=as_json)


def _filter(options: Mapping[str, str | None]) -> DeadLetterFilter:
    key = options["key"]
    keys = None if key is None else frozenset({key})
    return DeadLetterFilter(topic=options["topic"], code=options["code"], keys=keys)


def _found(wanted: DeadLetterFilter) -> list[Listed]:
    environment = settings()
    with bars() as shown:
        return run(environment, find(environment, wanted, shown))


def _chosen(ids: Sequence[DeadLetterId], wanted: DeadLetterFilter, *, everything: bool) -> list[Listed]:
    if bool(ids) == everything:
        raise click.UsageError(
            "name dead letters as partition:offset, or use --all (with --topic, --code, --key)"
        )
    if everything:
        return _open(_found(wanted))
    partitions = settings().partitions_of(DEAD_LETTERS.name)
    if strange := [each for each in ids if each.partition >= partitions]:
        raise Failed(f"there is no partition {strange[0].partition}")
    found = _found(msgspec.structs.replace(wanted, ids=frozenset(ids)))
    if absent := set(ids) - {each.letter.id for each in found}:
        raise Failed(
            f"there is no such dead letter: {', '.join(map(str, sorted(absent)))}. Nothing was done; "
            "`cartstream dlq list` shows those that are there"
        )
    return found


def _open(found: Sequence[Listed]) -> list[Listed]:
    return [each for each in found if each.mark is None]


def _print_columns(listed: Sequence[Listed]) -> None:
    """Plain columns: nothing is cut off in a pipe, and no key is taken for markup."""
    lines = [list(COLUMNS), *([_in_line(text(each)) for text in COLUMNS.values()] for each in listed)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _tell(results: Sequence[Result], *, as_json: bool) -> None:
    if as_json:
        print_json({"dead_letters": results})
        return
    for result in results:
        click.echo(f"{result.letter}  {result.done}: {_in_line(result.detail)}")
    click.echo("1 dead letter" if len(results) == 1 else f"{len(results)} dead letters")


def _in_line(text: str) -> str:
    return harmless(text).replace("\n", "\\n")


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
