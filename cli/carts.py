"""`cartstream carts show`: what happened to a cart, and what every store has of it."""

import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from carts.errors import InvalidIdentifier
from carts.ids import to_cart_id
from cli.tables import new_table, print_table
from ops.lookup.found import Copy, Found, Past, without_values
from ops.lookup.past import LATEST, position_of
from ops.lookup.search import Lookup, Reach
from ops.overview.settings import OverviewSettings
from ops.progress import bars
from ops.running import Failed, print_json, run, settings_as
from store.postgres.history import Position

PAGE: Final = 50
LARGEST_PAGE: Final = 10_000
_NO_HISTORY: Final = (
    "there is no history here: CARTSTREAM_HISTORY is not true. Set it for all processes and start "
    "`cartstream sinks history`, or leave --source out"
)
_CUT: Final = "There are older {}: they are not shown, nor were dead letters of them looked for."


class CartId(click.ParamType):
    """A cart's id on the command line."""

    name = "cart"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id, in NFC; tells what is wrong otherwise."""
        try:
            return to_cart_id(value)
        except InvalidIdentifier as error:
            self.fail(str(error), param, ctx)


class Place(click.ParamType):
    """A place in the past of a cart, as a page has named it."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        """The position; tells what is wrong otherwise."""
        try:
            return value if isinstance(value, Position) else position_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("carts")
def command() -> None:
    """Look at carts."""


@command.command("show")
@click.argument("cart_id", metavar="CART", type=CartId())
@click.option(
    "--limit",
    type=click.IntRange(1, LARGEST_PAGE),
    default=PAGE,
    show_default=True,
    help="Operations a page.",
)
@click.option("--before", type=Place(), default=LATEST, help="Older ones: what the page before has named.")
@click.option(
    "--source",
    type=click.Choice(["history", "kafka"]),
    help="Where operations are read: by default the history if CARTSTREAM_HISTORY is true, else the topic.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_command(cart_id: str, limit: int, before: Position, source: str | None, *, as_json: bool) -> None:
    """Show what happened to a cart, newest last, and what each store has of it now.

    Shows no name, address or text of a shopper, but for the cart's id, which may be an e-mail address, and
    what a dead letter quotes. Reads only; safe at any time. Without a history it reads the cart's partition
    of `cart-changed`, as far back as Kafka keeps it. Exits with 1 if nothing is known of
    the cart, or if a store fails: then it shows what the others have.
    """
    environment = settings_as(OverviewSettings)
    if source == "history" and not environment.history:
        raise Failed(_NO_HISTORY, exit_code=2)
    from_history = environment.history if source is None else source == "history"
    reach = Reach(
        limit=limit, before=before, from_history=from_history, tail=None, letters=True, tolerant=True
    )
    with bars() as shown:
        found = run(environment, Lookup(environment).find(cart_id, reach, shown), without_kafka=True)
    if not found.is_known:
        raise Failed(_nothing(found))
    if as_json:
        print_json(without_values(found))
    else:
        print_table(tables_of(found))
    if found.failures:
        raise Failed(f"not all of {cart_id} is shown: {_why(found.failures)}")


def _nothing(found: Found) -> str:
    elsewhere = f"no operation of it is in {_far(found.past)}"
    if found.failures:
        return f"nothing is known of {found.cart_id} yet: {_why(found.failures)}"
    unread = "; ".join(f"{copy.store}: {copy.note}" for copy in found.copies if copy.unread)
    if unread:
        return (
            f"nothing is known of {found.cart_id} yet. {unread}. No other store has it, and {elsewhere}. "
            "Look again later"
        )
    return f"nothing is known of {found.cart_id}: no store has it, and {elsewhere}"


def _why(failures: Iterable[str]) -> str:
    return "; ".join(each.rstrip(".") for each in failures)


def tables_of(found: Found) -> RenderableType:
    """All that was found, for a terminal."""
    return Group(*_parts(found))


def _parts(found: Found) -> Iterator[RenderableType]:
    waiting = f", {found.waiting} of its changes wait in the Redis outbox" if found.waiting else ""
    if found.waiting is None:
        waiting = ", what waits in the Redis outbox is not known"
    erased = f", erased {_moment(found.erased_at)}" if found.erased_at else ""
    yield Text(f"{found.cart_id} is in partition {found.partition}{waiting}{erased}.", style="bold")
    yield from _titled("What happened, newest last", _events(found.past))
    yield Text(f"It is in {found.past.source}." if found.past.unread else f"From {_far(found.past)}.")
    if found.past.older:
        yield Text(f"There are older ones: --before {shlex.quote(found.past.older)}")
    yield from _titled("What there is now", _copies(found.copies))
    for each in found.differences:
        yield Text(f"{each.meaning}. {each.detail}. {each.do}", style="yellow")
    if found.differences:
        yield Text("While the cart changes they differ for a moment: look again.")
    yield from _orders(found)
    yield from _merges(found)
    if found.dead_letters:
        table = new_table("dead letter", "code", "source", "time", "handled", "why")
        for letter in found.dead_letters:
            table.add_row(
                *(letter["id"], letter["code"], letter["source"], _moment(letter["time"])),
                *(letter["handled"] or "open", letter["detail"]),
            )
        yield from _titled("Dead letters", table)


def _orders(found: Found) -> Iterator[RenderableType]:
    table = new_table("order", "status", "placed")
    for order in found.orders:
        table.add_row(order.order_id, order.status, _moment(order.placed_at))
    if found.orders:
        yield from _titled("Orders", table)
    if "orders" in found.cut:
        yield Text(_CUT.format("orders"))


def _merges(found: Found) -> Iterator[RenderableType]:
    table = new_table("merge", "from", "into", "strategy", "lines", "began", "ended")
    for merge in found.merges:
        table.add_row(
            *(merge.merge_id, merge.guest, merge.into, merge.strategy, str(merge.lines)),
            *(_moment(merge.began_at), _moment(merge.finished_at) if merge.finished_at else "under way"),
        )
    if found.merges:
        yield from _titled("Merges", table)
    if "merges" in found.cut:
        yield Text(_CUT.format("merges"))


def _titled(title: str, table: RenderableType) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", style="bold")
    yield table


def _events(past: Past) -> RenderableType:
    if past.unread:
        return Text("Not known.")
    if not past.events:
        return Text("Nothing." if past.known_from else "Nothing. `--source kafka` reads the topic.")
    table = new_table("at", "did", "by", "operation", "version", "cart-changed")
    for event in past.events:
        by = ", ".join(filter(None, (event.actor, event.cause)))
        table.add_row(
            *(_moment(event.at), "; ".join(event.steps), by, event.op_id, str(event.version), event.place)
        )
    return table


def _copies(copies: Iterable[Copy]) -> RenderableType:
    table = new_table("store", "version", "status", "changed", "lines", "subtotal", "")
    for copy in copies:
        subtotal = "" if copy.subtotal is None else f"{copy.subtotal} {copy.currency or ''} (minor units)"
        table.add_row(
            *(copy.store, copy.version or "", copy.status or ""),
            _moment(copy.updated_at) if copy.updated_at else "",
            ", ".join(f"{line.quantity} {line.product_id}" for line in copy.lines),
            subtotal.strip(),
            copy.note,
        )
    return table


def _far(past: Past) -> str:
    return f"{past.source}, since {_moment(past.known_from)}" if past.known_from else past.source


def _moment(text: str | None) -> str:
    """A time without its date's T, to the millisecond; it is in UTC."""
    return "" if not text else text.replace("T", " ").replace("+00:00", "")[:23]
