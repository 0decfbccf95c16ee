"""`cartstream erase`: makes every store forget carts, and certifies it."""

import sys
from collections.abc import Sequence
from typing import Final

import click

from carts.errors import InvalidIdentifier
from carts.ids import to_cart_id
from gateway.erasure.certificate import Certificate
from ops.erasure import Found, Refused, erase, find
from ops.running import print_json, run, settings

WAITS: Final = 1


def cart_ids(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """The cart ids, each once. Raises BadParameter for one that is none."""
    try:
        return list(dict.fromkeys(to_cart_id(value) for value in values))
    except InvalidIdentifier as error:
        raise click.BadParameter(str(error)) from error


@click.command("erase")
@click.argument("carts", metavar="CART…", nargs=-1, required=True, callback=cart_ids)
@click.option("--dry-run", is_flag=True, help="Only show what there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait until every store has done it; it goes on afterwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the certificates.")
def command(carts: list[str], wait_s: float, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase carts, and what their orders say of a person, in Redis, Kafka and Postgres.

    There is no way back. Exits with 0 if every store was seen to have done it, else with 1.
    """
    environment = settings()
    if dry_run:
        tell_found(run(environment, find(environment, carts)), as_json=as_json)
        return
    if not yes:
        click.confirm(f"Erase {', '.join(carts)} for good?", abort=True, err=True)
    done = run(environment, erase(environment, carts, wait_s))
    if as_json:
        print_json(done)
    else:
        for each in done:
            _tell(each)
    if not all(isinstance(each, Certificate) and each.complete for each in done):
        sys.exit(WAITS)


def tell_found(found: Sequence[Found], *, as_json: bool) -> None:
    """Say what there is of carts."""
    if as_json:
        print_json(found)
        return
    for each in found:
        when = f"erased {each.erased_at:%Y-%m-%d %H:%M:%S} UTC" if each.erased_at else "not erased"
        click.echo(f"{each.cart_id}: {when}")
        for place in each.places:
            click.echo(f"    {'FOUND' if place.found else 'clean'}  {place.where}: {place.detail}")
        for waiting in each.waiting:
            by = f"{waiting.gone_by:%Y-%m-%d %H:%M} UTC"
            click.echo(f"    {waiting.records} old records in {waiting.topic}, gone by {by}")


def _tell(done: Certificate | Refused) -> None:
    if isinstance(done, Refused):
        click.echo(f"{done.cart_id}: not erased. {done.why}")
        return
    removed = done.removed
    click.echo(f"{done.cart_id}: erased, certificate {done.erasure_id}")
    click.echo(
        f"    removed: Redis {removed.redis.lines} lines and {removed.redis.operations} operations, "
        f"{removed.outbox_entries} waiting changes; Postgres {removed.row.lines} lines and "
        f"{removed.row.operations} operations; personal data of {removed.orders} orders, "
        f"{removed.checkouts} checkouts, {removed.transfers} merges; {removed.mails} mails; "
        f"{removed.changes} changes in the history"
    )
    for expiring in done.expires:
        click.echo(f"    {expiring.topic}: {expiring.records}, gone by {expiring.by:%Y-%m-%d %H:%M} UTC")
    for kept in done.kept:
        click.echo(f"    kept: {kept.what} ({kept.why})")
    if done.merged_guests:
        click.echo(f"    merged into it, erase them too: {' '.join(done.merged_guests)}")
    if done.waits_for:
        click.echo(f"    not seen yet in {', '.join(done.waits_for)}: `cartstream verify --erased` tells")
