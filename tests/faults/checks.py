"""What must hold after a run, as pure functions over the history and what the stores finally contain.

Each check returns what it found wrong, nothing when all is well. They do not trust the product:
what a cart must contain is worked out from the clients' own requests and from the orders by a few lines of
arithmetic (`expected_contents`). Only `folding_the_topic_gives_the_carts` uses the product's fold, which it
is about.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from carts.content import Content
from carts.fold import fold
from carts.operations import DUPLICATE, Delta, SetDetails, Step
from carts.operations import Add as AddStep
from carts.operations import Clear as ClearStep
from carts.operations import Operation as Entry
from carts.operations import Remove as RemoveStep
from carts.operations import Save as SaveStep
from carts.operations import Set as SetStep
from carts.operations import SetMetadata as MetadataStep
from carts.protocol import rank
from carts.state import State, Version
from tests.faults.arithmetic import deeds, expected_contents
from tests.faults.erasures import (
    ERASURE_CHECKS,
    ERASURE_PREFIX,
    erasures,
    is_surely_erased,
    is_surely_kept,
    operations_erased,
)
from tests.faults.history import (
    Add,
    Began,
    Clear,
    Command,
    Detail,
    Forgets,
    Note,
    Outcome,
    Record,
    Remove,
    Save,
    Set,
    writes,
)
from tests.faults.order_checks import ORDER_CHECKS, ORDERS_CONVERGING
from tests.faults.sick_gateway import a_sick_gateway_holds_back_nobody
from tests.faults.stores import Check, Copy, Stores, Violation, about, copy_of
from tests.faults.versions import (
    a_wipe_takes_back_nothing_durable,
    conditions_held,
    reads_never_go_back,
    receipts_are_readable,
    versions_are_unique,
    versions_rise,
)

LOST: Final = "lost"
DOUBLED: Final = "doubled"
UNEQUAL: Final = "stores differ"
STORES: Final = ("redis", "carts", "postgres")


def acknowledged_operations_are_there(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Every acknowledged operation is an entry of its cart, with the steps that were asked for.

    Unless the cart was erased since. One that was only ever acknowledged by Redis must be there too, unless
    Redis lost what it had.
    """
    entries = _entries(stores)
    promised = _promised(history)
    erased = operations_erased(history, stores)
    found = []
    for operation in writes(history):
        deltas = entries.get((operation.cart_id, operation.key), [])
        is_erased = operation.op in erased
        if operation.outcome in promised and not deltas and not is_erased:
            found.append(
                about(LOST, operation, f"{operation.outcome}, not in the cart: {operation.commands}")
            )
        found += [
            about("garbled", operation, f"asked for {operation.commands}, the cart has {delta}")
            for delta in deltas
            if not _says(delta, operation.commands)
        ]
    return found


def refused_operations_are_not_there(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """No operation whose every attempt was refused is an entry of its cart."""
    entries = _entries(stores)
    return [
        about("done though refused", operation, f"{operation.commands}")
        for operation in writes(history)
        if operation.outcome is Outcome.REFUSED and (operation.cart_id, operation.key) in entries
    ]


def every_entry_was_asked_for(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each entry of each cart is an operation of the history, or takes out an order that there is.

    Erasures have a check of their own.
    """
    known = {(operation.cart_id, operation.key) for operation in writes(history)}
    known |= {(order.cart_id, order.order_id) for order in stores.sales.orders}
    return [
        Violation("stranger", cart_id, f"operation {key} is in the cart and nobody asked for it")
        for cart_id, key in _entries(stores)
        if (cart_id, key) not in known and not str(key).startswith(ERASURE_PREFIX)
    ]


def quantities_add_up(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Where only adds were asked for: acknowledged pieces <= shown and sold <= acknowledged and unknown.

    What was added before an erasure is gone, what was added after all of them is there. This trusts nothing
    of the product but the quantities that it shows and has sold. A store without the cart shows none: what is
    gone everywhere is equal everywhere.
    """
    promised = _promised(history)
    asked = erasures(history)
    least: dict[str, Counter[str]] = defaultdict(Counter)
    most: dict[str, Counter[str]] = defaultdict(Counter)
    written: set[str] = set()
    mixed: set[str] = set()
    for operation in writes(history):
        written.add(operation.cart_id)
        of_cart = asked.get(operation.cart_id, [])
        may_be_there = operation.outcome is not Outcome.REFUSED and not is_surely_erased(operation, of_cart)
        must_be_there = operation.outcome in promised and is_surely_kept(operation, of_cart)
        for command in operation.commands:
            if not isinstance(command, Add):
                mixed.add(operation.cart_id)
            elif may_be_there:
                most[operation.cart_id][command.line_id] += command.quantity
                if must_be_there:
                    least[operation.cart_id][command.line_id] += command.quantity
    sold: dict[str, Counter[str]] = defaultdict(Counter)
    for order in stores.sales.orders:
        sold[order.cart_id].update(order.lines())
    # Nobody knows whether what was sold had been there before an erasure.
    mixed |= sold.keys() & asked.keys()
    return [
        violation
        for cart_id in sorted(written - mixed)
        for store, lines in _shown(stores, cart_id)
        for violation in _beyond(
            cart_id, store, sold[cart_id] + Counter(lines), (least[cart_id], most[cart_id])
        )
    ]


def _beyond(
    cart_id: str, store: str, lines: Mapping[str, int], bounds: tuple[Mapping[str, int], Mapping[str, int]]
) -> Iterator[Violation]:
    for line_id in sorted(lines.keys() | bounds[1].keys()):
        pieces, least, most = lines.get(line_id, 0), bounds[0].get(line_id, 0), bounds[1].get(line_id, 0)
        if not least <= pieces <= most:
            what = LOST if pieces < least else DOUBLED
            yield Violation(what, cart_id, f"{store}: {pieces} of {line_id}, {least} to {most} asked for")


def lines_follow_from_the_requests(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Each store shows the lines that come out when requests and orders are done one by one in version order.

    Which were done, and when, is read from `cart-changed`.
    """
    found: list[Violation] = []
    for cart_id, done in deeds(history, stores).items():
        expected = expected_contents(done).lines
        for store, copy in _copies(stores, cart_id):
            found += _beyond(cart_id, store, copy.lines, (expected, expected))
    return found


def the_rest_follows_from_the_requests(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Likewise the metadata, the e-mail and what is saved for later."""
    found: list[Violation] = []
    for cart_id, done in deeds(history, stores).items():
        contents = expected_contents(done)
        expected = (contents.metadata, contents.email, contents.saved)
        for store, copy in _copies(stores, cart_id):
            shown = (copy.metadata, copy.email, copy.saved)
            if shown != expected:
                found.append(Violation("garbled", cart_id, f"{store}: {shown}, expected {expected}"))
    return found


def folding_the_topic_gives_the_carts(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Folding `cart-changed` alone gives each cart's last state in `carts`."""
    folded: dict[str, State | None] = {}
    for record in stores.published:
        cart_id = record.change.cart_id
        folded[cart_id] = fold(folded.get(cart_id), record.change).state
    found = []
    for cart_id in sorted(folded.keys() | stores.records.keys()):
        own, states = folded.get(cart_id), stores.records.get(cart_id)
        if own is None or not states:
            found.append(Violation(UNEQUAL, cart_id, "only one of cart-changed and carts knows it"))
        elif _essence(own) != _essence(states[-1]):
            kept, given = states[-1].version.tag(), own.version.tag()
            found.append(Violation(UNEQUAL, cart_id, f"carts has {kept}, cart-changed gives {given}"))
    return found


def _essence(state: State) -> tuple[Version, tuple[Entry, ...], Content]:
    return state.version, state.ops, state.content()


def carts_end_with_the_highest(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """The last record of a cart in `carts` has its highest version: compaction keeps the last."""
    return [
        Violation("carts fell back", cart_id, f"ends with {states[-1].version.tag()}, had {highest.tag()}")
        for cart_id, states in stores.records.items()
        if rank(highest := max((state.version for state in states), key=rank)) > rank(states[-1].version)
    ]


def stores_are_equal(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """Redis, `carts` and Postgres have the same carts, with the same version and the same contents."""
    found = []
    for cart_id in sorted(stores.records.keys() | stores.redis.keys() | stores.rows.keys()):
        copies = dict(_copies(stores, cart_id))
        missing = sorted({*STORES} - copies.keys())
        if missing:
            found.append(Violation(UNEQUAL, cart_id, f"not in {', '.join(missing)}"))
        elif len({msgspec.json.encode(copy, order="deterministic") for copy in copies.values()}) > 1:
            found.append(Violation(UNEQUAL, cart_id, f"{copies}"))
    return found


def nothing_is_left_over(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """The outboxes are empty and no record was given up."""
    found = []
    if stores.outbox:
        found.append(Violation("left over", "-", f"{stores.outbox} changes still wait in the outboxes"))
    if stores.dead_letters:
        found.append(Violation("left over", "-", f"{stores.dead_letters} records became dead letters"))
    return found


CHECKS: Final[tuple[Check, ...]] = (
    acknowledged_operations_are_there,
    refused_operations_are_not_there,
    every_entry_was_asked_for,
    quantities_add_up,
    lines_follow_from_the_requests,
    the_rest_follows_from_the_requests,
    versions_are_unique,
    versions_rise,
    receipts_are_readable,
    conditions_held,
    reads_never_go_back,
    a_wipe_takes_back_nothing_durable,
    folding_the_topic_gives_the_carts,
    carts_end_with_the_highest,
    stores_are_equal,
    nothing_is_left_over,
    a_sick_gateway_holds_back_nobody,
    *ERASURE_CHECKS,
    *ORDER_CHECKS,
)

CONVERGING: Final[tuple[Check, ...]] = (
    stores_are_equal,
    folding_the_topic_gives_the_carts,
    nothing_is_left_over,
    *ORDERS_CONVERGING,
)
"""The checks that become true when everything in flight has landed: waiting for them is waiting for quiet."""


def violations(
    history: Sequence[Record], stores: Stores, checks: Iterable[Check] = CHECKS
) -> list[Violation]:
    """Everything the checks find."""
    return [violation for check in checks for violation in check(history, stores)]


def _promised(history: Sequence[Record]) -> frozenset[Outcome]:
    """The outcomes that oblige: what only Redis has acknowledged may go where Redis loses what it had."""
    if any(isinstance(record, Began) and record.forgets is not Forgets.NOTHING for record in history):
        return frozenset({Outcome.ACKNOWLEDGED})
    return frozenset({Outcome.ACKNOWLEDGED, Outcome.WEAK})


def _entries(stores: Stores) -> dict[tuple[str, str | None], list[Delta]]:
    """The steps of each operation in the last states of `carts`; an operation born twice has two."""
    entries: dict[tuple[str, str | None], list[Delta]] = defaultdict(list)
    for cart_id, states in stores.records.items():
        for entry in states[-1].ops:
            if entry.delta != DUPLICATE:
                entries[cart_id, entry.op_id].append(entry.delta)
    return dict(entries)


def _copies(stores: Stores, cart_id: str) -> Iterator[tuple[str, Copy]]:
    if cart_id in stores.redis:
        yield "redis", stores.redis[cart_id]
    if states := stores.records.get(cart_id):
        yield "carts", copy_of(states[-1])
    if cart_id in stores.rows:
        yield "postgres", stores.rows[cart_id]


def _shown(stores: Stores, cart_id: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    copies = dict(_copies(stores, cart_id))
    for store in STORES:
        yield store, copies[store].lines if store in copies else {}


def _says(delta: Delta, commands: Sequence[Command]) -> bool:
    return len(delta) == len(commands) and all(
        _does(step, command) for step, command in zip(delta, commands, strict=True)
    )


def _does(step: Step, command: Command) -> bool:
    match step, command:
        case AddStep(), Add():
            asked = (command.line_id, command.quantity, command.unit_price)
            return (step.line_id, step.quantity, step.unit_price) == asked
        case SetStep(), Set():
            return (step.line_id, step.quantity) == (command.line_id, command.quantity)
        case RemoveStep(), Remove():
            return step.line_id == command.line_id
        case ClearStep(), Clear():
            return True
        case SaveStep(), Save():
            return (step.line_id, step.quantity) == (command.line_id, command.quantity)
    return isinstance(command, Note | Detail) and step == _about_the_cart(command)


def _about_the_cart(command: Note | Detail) -> Step:
    match command:
        case Note(text):
            return MetadataStep({"note": text})
        case Detail(email):
            return SetDetails(email=email, codes=None)
