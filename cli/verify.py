"""`cartstream verify`: whether Redis, `carts` and Postgres have the same carts."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import click

from cli.erase import cart_ids, tell_found
from ops.comparison import MEANING, Discrepancy, Kind
from ops.erasure import find
from ops.progress import bars
from ops.repair import Repaired
from ops.running import chosen, print_json, run, settings
from ops.verification import Verified
from ops.verify import verify

DIFFERENT: Final = 1
COULD_NOT_CHECK: Final = 2
EXAMPLES: Final = 3


@click.command("verify")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    help="Only this one; may be repeated.",
)
@click.option("--repair", is_flag=True, help="Re-drive what differs.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds until what differs is looked at again: changes in flight land meanwhile.",
)
@click.option(
    "--erased",
    "erased",
    metavar="CART",
    multiple=True,
    callback=cart_ids,
    help="Only look for what is left of this erased cart; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    partitions: tuple[int, ...], settle: float, erased: list[str], *, repair: bool, as_json: bool
) -> None:
    """Compare Redis, `carts` and Postgres cart by cart; safe at any time, under load too.

    Exits with 0 if they are equal, with 1 if they differ (or did, before the repair), with 2 if it could not
    check. With --erased: with 1 if a store has something that should be gone.
    """
    environment = settings()
    if erased:
        found = run(environment, find(environment, erased), exit_code=COULD_NOT_CHECK)
        tell_found(found, as_json=as_json)
        sys.exit(0 if all(each.clean for each in found) else DIFFERENT)
    asked = chosen(environment, partitions)
    with bars() as shown:
        verified, repaired = run(
            environment, verify(environment, asked, settle, shown, repair=repair), exit_code=COULD_NOT_CHECK
        )
    if as_json:
        print_json(_document(verified, repaired))
    else:
        _tell(verified, repaired)
    if verified.discrepancies:
        sys.exit(DIFFERENT)
    if verified.unready:
        sys.exit(COULD_NOT_CHECK)


def _by_kind(discrepancies: Sequence[Discrepancy]) -> dict[Kind, list[Discrepancy]]:
    found: defaultdict[Kind, list[Discrepancy]] = defaultdict(list)
    for discrepancy in discrepancies:
        found[discrepancy.kind].append(discrepancy)
    return dict(found)


def _document(verified: Verified, repaired: Repaired | None) -> dict[str, Any]:
    return {
        "equal": not verified.discrepancies and not verified.unready,
        "carts": verified.carts,
        "in_redis": verified.in_redis,
        "in_rows_only": verified.in_rows_only,
        "in_postgres": verified.in_postgres,
        "moving": verified.moving,
        "unready_partitions": verified.unready,
        "differences": {kind: len(found) for kind, found in _by_kind(verified.discrepancies).items()},
        "carts_that_differ": [
            {
                "kind": each.kind,
                "partition": each.partition,
                "cart_id": each.cart_id,
                "detail": each.detail,
            }
            for each in verified.discrepancies
        ],
        "repaired": repaired,
    }


def _tell(verified: Verified, repaired: Repaired | None) -> None:
    for kind, found in sorted(_by_kind(verified.discrepancies).items()):
        what, advice = MEANING[kind]
        click.echo(f"{kind}: {len(found)}. {what}")
        for each in found[:EXAMPLES]:
            click.echo(f"    {each.cart_id or f'partition {each.partition}'}: {each.detail}")
        if len(found) > EXAMPLES:
            click.echo(f"    and {len(found) - EXAMPLES} more (--json names all)")
        click.echo(f"    what to do: {advice}")
    click.echo(
        f"{verified.carts} carts, {verified.in_redis} in Redis, {verified.in_postgres} in Postgres: "
        + ("they differ" if verified.discrepancies else "equal")
    )
    if verified.in_rows_only:
        click.echo(
            f"{verified.in_rows_only} carts are in their rows only: Redis takes them from there when they "
            "are asked for"
        )
    if verified.moving:
        click.echo(f"{verified.moving} carts were changing all the time and are not judged")
    if verified.unready:
        click.echo(
            f"partitions {', '.join(map(str, verified.unready))} are not ready in Redis: "
            "`cartstream restore` shows how far they are; verify again then"
        )
    if repaired is not None:
        for mended, count in sorted(repaired.done.items()):
            click.echo(f"re-driven: {count} {mended}")
        for sentence in repaired.left:
            click.echo(f"left: {sentence}")
        click.echo("verify again to see what that has mended")
