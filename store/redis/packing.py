"""How a cart is written in Redis: the head, the packed lines, and the copy of a state that a put carries.

The head, field `m`, is one string so that a script reads and writes it at once:
`v n digest floor born lines tracked bytes subtotal clr entries window_bytes oldest status currency`
with the digest in decimal, `lines` shown, `tracked` lines in all, `bytes` of all but the window,
`entries`, `window_bytes` and `oldest` v of the window, `-` for no currency.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from carts.content import EMPTY, Line, SavedLine, apply, subtotal
from carts.details import NO_DETAILS, Details, DetailsPatch
from carts.ids import claim_op_id, product_id_of
from carts.limits import LIMITS, Timing
from carts.operations import (
    DUPLICATE,
    Add,
    Clear,
    Delta,
    Item,
    Metadata,
    Operation,
    Remove,
    Save,
    Set,
    SetDetails,
    SetMetadata,
)
from carts.protocol import Deleted
from carts.state import State, Status, Version
from store.redis.absence import Absence
from store.redis.requests import RequestStep, SetQuantity

_JSON: Final = msgspec.json.Encoder()
_MSGPACK: Final = msgspec.msgpack.Encoder()
_ITEM: Final = msgspec.json.Decoder(Item)
_METADATA: Final = msgspec.json.Decoder(Metadata)
_DETAILS: Final = msgspec.json.Decoder(Details)
_SAVED: Final = msgspec.json.Decoder(SavedLine)

METADATA_FIELD: Final = b"metadata"
DETAILS_FIELD: Final = b"details"
SAVED_FIELD: Final = b"saved"
EXTRAS_FIELD: Final = b"x"
HEAD_FIELD: Final = b"m"
LINE_PREFIX: Final = b"l:"
_STEP_DIGITS: Final = len(str(LIMITS.steps - 1))
"""Of the index of a step, as in `change.lua`."""


class Head(NamedTuple):
    """The head, parsed."""

    version_number: int
    operation_count: int
    digest: int
    floor: int
    born: int
    lines: int
    tracked: int
    bytes: int
    subtotal: int
    cleared_version: int
    entries: int
    window_bytes: int
    oldest: int
    status: Status
    currency: str | None


_NONE_WAITS: Final[Mapping[tuple[int, str], str]] = MappingProxyType({})


class _Entry(msgspec.Struct, rename={"version": "v"}):
    """An operation as a script has written it: one without an Idempotency-Key has no fingerprint."""

    version: int
    op_id: str
    delta: Delta
    fingerprint: str = ""


_ENTRY: Final = msgspec.json.Decoder(_Entry)
NO_EXTRAS: Final = State()
_EXTRAS: Final = msgspec.json.Decoder(State)


def pack_line(line: Line) -> bytes:
    r"""`<quantity> <dv> <place> <unit_price> <item JSON>\n<metadata JSON>`.

    Lines are shown in the order of their places: av, and behind it the digits of the step.
    """
    item = _JSON.encode(Item(line.product_id, line.options))
    place = line.added_version * 10**_STEP_DIGITS + line.added_step
    numbers = b"%d %d %d %d " % (line.quantity, line.decided_version, place, line.unit_price)
    return numbers + item + b"\n" + _JSON.encode(line.metadata)


def unpack_line(packed: bytes) -> Line:
    """The line that `pack_line` packed."""
    quantity, dv, place, unit_price, rest = packed.split(b" ", 4)
    item_json, _, metadata = rest.partition(b"\n")
    item = _ITEM.decode(item_json)
    return Line(
        item.product_id,
        int(quantity),
        int(unit_price),
        item.options,
        _METADATA.decode(metadata),
        int(dv),
        *divmod(int(place), 10**_STEP_DIGITS),
    )


def unpack_head(packed: bytes) -> Head:
    """The head out of field `m`."""
    parts = packed.decode().split(" ")
    status, currency = parts[-2:]
    numbers = [int(part) for part in parts[:-2]]
    return Head._make((*numbers, Status(status), None if currency == "-" else currency))


def unpack_extras(packed: bytes | None) -> State:
    """What few carts have, out of field `x`: a state of just that (see `_extras`)."""
    return _EXTRAS.decode(packed) if packed else NO_EXTRAS


def unpack_metadata(packed: bytes | None) -> Metadata:
    """The cart's metadata out of its field."""
    return _METADATA.decode(packed) if packed else {}


def pack_details(details: DetailsPatch | Details) -> bytes:
    r"""A line `<name>\t<JSON>\n` for each that is known, or that a step names, in the order of the names."""
    named = details.named() if isinstance(details, DetailsPatch) else _known(details)
    return b"".join(b"%b\t%b\n" % (name.encode(), _JSON.encode(named[name])) for name in sorted(named))


def details_json(packed: bytes | None) -> bytes:
    """The JSON of the details that `pack_details` packed."""
    lines = (packed or b"").split(b"\n")[:-1]
    return b"{%b}" % b",".join(b'"%b":%b' % tuple(line.split(b"\t", 1)) for line in lines)


def pack_saved(saved: Mapping[str, SavedLine | None]) -> bytes:
    r"""A line `<line id>\t<JSON>\n` for each line saved for later; null takes one off the list."""
    return b"".join(
        b"%b\t%b\n" % (line_id.encode(), _JSON.encode(line)) for line_id, line in sorted(saved.items())
    )


def unpack_saved(packed: bytes | None) -> dict[str, SavedLine]:
    """The lines saved for later out of their field."""
    lines = (line.split(b"\t", 1) for line in (packed or b"").split(b"\n")[:-1])
    return {line_id.decode(): _SAVED.decode(json) for line_id, json in lines}


def unpack_details(packed: bytes | None) -> Details:
    """The details out of their field."""
    return _DETAILS.decode(details_json(packed)) if packed else NO_DETAILS


def _known(details: Details) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(details).items() if value is not None}


def unpack_entry(packed: bytes) -> tuple[Operation, str]:
    """An entry of ops: the operation, and its outbox id (empty: it was not put there by this copy)."""
    json, _, outbox_id = packed.partition(b"\n")
    entry = _ENTRY.decode(json)
    return Operation(entry.version, entry.op_id, entry.fingerprint, entry.delta), outbox_id.decode()


def step_arguments(step: RequestStep) -> tuple[bytes | str | int, ...]:
    """The eight arguments that a step is to the change script."""
    json = _JSON.encode(step)
    match step:
        case Add() | Set():
            kind = "add" if type(step) is Add else "set"
            metadata = b"" if step.metadata is None else _JSON.encode(step.metadata)
            item = _JSON.encode(step.item)
            return kind, step.line_id, step.quantity, step.unit_price, step.currency, item, metadata, json
        case SetQuantity():
            json = b'{"kind":"set","line_id":%b,"quantity":%d' % (_JSON.encode(step.line_id), step.quantity)
            metadata = b"" if step.metadata is None else _JSON.encode(step.metadata)
            price = "" if step.unit_price is None else step.unit_price
            return (
                "set_quantity",
                step.line_id,
                step.quantity,
                price,
                step.currency or "",
                b"",
                metadata,
                json,
            )
        case Remove():
            item = _JSON.encode(Item(product_id_of(step.line_id)))
            return "remove", step.line_id, "", "", "", item, b"", json
        case Clear():
            return "clear", "", "", "", "", b"", b"", json
        case SetDetails() | Save():
            if isinstance(step, Save):
                kind, bound, named = "save", LIMITS.saved_lines, pack_saved({step.line_id: _saved(step)})
            else:
                kind, bound, named = "details", 0, pack_details(step)
            return kind, "", bound, "", "", b"", named, json
        case SetMetadata():
            return "metadata", step.line_id or "", "", "", "", b"", _JSON.encode(step.metadata), json


def _saved(step: Save) -> SavedLine | None:
    return apply(EMPTY, [Operation(0, "", "", (step,))]).saved.get(step.line_id)


def pack_copy(cart_id: str, state: State, outbox_ids: Mapping[tuple[int, str], str] = _NONE_WAITS) -> bytes:
    """A state as the put scripts take it, MessagePack; strings only: cmsgpack knows no binary type.

    `outbox_ids`: where the entries (v, op_id) stand that wait in the outbox.

    [cart id, version tag, floor, fields and values of the cart's hash, scores and members of the window,
    fields and values of ops, ids of operations known without an entry, `alive` or `expired`, the number of
    the newest transfer known]
    """
    content, version = state.content(), state.version
    window, entries, window_bytes = _pack_window(state.ops, outbox_ids)
    fields: list[str] = []
    size = 0
    for line_id, line in content.lines.items():
        packed = pack_line(line)
        fields += (f"l:{line_id}", packed.decode())
        size += len(LINE_PREFIX) + len(line_id.encode()) + len(packed)
    if content.metadata:
        metadata = _JSON.encode(content.metadata)
        fields += (METADATA_FIELD.decode(), metadata.decode())
        size += len(metadata)
    if content.details != NO_DETAILS:
        details = pack_details(content.details)
        fields += (DETAILS_FIELD.decode(), details.decode())
        size += len(details)
    if content.saved:
        saved = pack_saved(content.saved)
        fields += (SAVED_FIELD.decode(), saved.decode())
        size += len(saved)
    extras = _extras(state)
    if extras != NO_EXTRAS:
        fields += (EXTRAS_FIELD.decode(), _JSON.encode(extras).decode())
    lines = sum(1 for line in content.lines.values() if line.quantity > 0)
    oldest = state.ops[0].version if state.ops else 0
    head = (
        *(
            version.number,
            version.operation_count,
            version.digest,
            state.floor,
            state.born,
            lines,
            len(content.lines),
            size,
        ),
        *(subtotal(content), content.cleared_version, len(state.ops), window_bytes, oldest),
        *(state.status, content.currency or "-"),
    )
    fields += (HEAD_FIELD.decode(), " ".join(map(str, head)))
    remembered = [] if state.claim is None else [claim_op_id(state.claim.merge_id)]
    return _MSGPACK.encode(
        (
            *(cart_id, version.tag(), str(state.floor), fields, window, entries),
            *(remembered, "expired" if state.expired else "alive", state.transfers),
        )
    )


def pack_deletion(cart_id: str, deleted: Deleted) -> bytes:
    """A deletion as the put script takes it: a copy without anything, at the version that it deletes."""
    version = deleted.version
    return _MSGPACK.encode((cart_id, version.tag(), str(version.number), [], [], [], [], "deleted", 0))


def pack_version(cart_id: str, version: Version) -> bytes:
    """Only which version of a cart there is, as the put script takes it (partition_store.Followed)."""
    return _MSGPACK.encode((cart_id, version.tag()))


def pack_absence(absence: Absence, timing: Timing) -> bytes:
    """`<missed at> <rows position> <how long it counts> <restoration>`, as `_row_counts.lua` takes it."""
    numbers = b"%d %d %d " % (absence.miss.time_us, absence.rows_position, timing.hydration_us)
    return numbers + absence.miss.restoration.encode()


def _extras(state: State) -> State:
    return State(
        start=state.start,
        ordered_version=state.newest_order,  # the scripts do not look into what leaves the window
        claim=state.claim,
        transfers=state.transfers,
        merged_into=state.merged_into,
        erased=state.erased,
    )


def _pack_window(
    ops: tuple[Operation, ...], outbox_ids: Mapping[tuple[int, str], str]
) -> tuple[list[str], list[str], int]:
    r"""Scores and members, fields and entries (`<JSON>`, or `<JSON>\n<outbox id>`), bytes of the JSON.

    The newest attempt that counts stands under its op_id, where a retry looks for it; others under
    `op_id\n<v>`.
    """
    newest: dict[str, int] = {}
    for op in ops:
        if op.delta != DUPLICATE or op.op_id not in newest:
            newest[op.op_id] = op.version
    window: list[str] = []
    entries: list[str] = []
    size = 0
    for op in ops:
        member = op.op_id if newest[op.op_id] == op.version else f"{op.op_id}\n{op.version}"
        entry = _JSON.encode(op)
        window += (str(op.version), member)
        outbox_id = outbox_ids.get((op.version, op.op_id))
        entries += (member, entry.decode() + (f"\n{outbox_id}" if outbox_id else ""))
        size += len(entry)
    return window, entries, size
