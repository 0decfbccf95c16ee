"""What the compaction agent does with a `cart-changed` record. Pure."""

from enum import StrEnum

import msgspec

from carts.fold import Outcome, Verdict, fold
from carts.limits import TIMING, Timing
from carts.operations import Change, Purge
from carts.state import State, Version
from topics.codec import decode_change, decode_state, encode_cart, encode_purge_floor
from topics.errors import RecordError
from topics.headers import Headers, cart_headers, purge_floor_headers, tombstone_headers
from topics.records import PurgeFloor, cart_record, purge_floor_key


class Source(msgspec.Struct, frozen=True):
    """A `cart-changed` record as it came."""

    key: bytes
    value: bytes | None
    partition: int
    offset: int


class RefusalCode(StrEnum):
    """Why a readable change is refused; stands beside the codes of RecordError in the dead letters."""

    WRONG_KEY = "wrong_key"
    UNSUPPORTED = "unsupported"
    UNREADABLE_STATE = "unreadable_state"
    BELOW_PURGE_FLOOR = "below_purge_floor"


class Refusal(msgspec.Struct, frozen=True):
    """The record goes to the dead letters: a short code and a sentence."""

    code: str
    detail: str


class Emission(msgspec.Struct, frozen=True):
    """A record for `carts`, and what the table holds from now on; None deletes."""

    key: bytes
    value: bytes | None
    headers: Headers


class Decision(msgspec.Struct, frozen=True):
    """What to do with a record: emissions in this order, or a refusal; neither if it changed nothing."""

    verdict: Verdict
    emissions: tuple[Emission, ...] = ()
    refusal: Refusal | None = None


def decide(
    held: bytes | None,
    purge_floor: int,
    source: Source,
    *,
    retention_us: int,
    timing: Timing = TIMING,
) -> Decision:
    """Fold a record into the table's value `held` of its cart.

    `purge_floor` is the highest version ever deleted in the partition, `retention_us` how long a cart must
    have been expired before a purge deletes it. A record that nobody can take is refused, never raised.
    """
    try:
        change = decode_change(source.value)
    except RecordError as error:
        return _refuse(error.code, error.detail)
    if change.cart_id.encode() != source.key:
        return _refuse(RefusalCode.WRONG_KEY, f"its key is not its cart_id {change.cart_id}: the key decides")
    try:
        state = decode_state(held) if held is not None else None
    except RecordError as error:
        detail = f"what `carts` holds of the cart is unreadable, {error}: mend it and replay the record"
        return _refuse(RefusalCode.UNREADABLE_STATE, detail)
    outcome = fold(state, change, purge_floor=purge_floor, retention_us=retention_us, timing=timing)
    return _follow(source, change, state, outcome, purge_floor, retention_us)


def _follow(
    source: Source, change: Change, state: State | None, outcome: Outcome, purge_floor: int, retention_us: int
) -> Decision:
    match outcome.verdict:
        case Verdict.CHANGED if outcome.state is not None:
            return Decision(outcome.verdict, (_state(change.cart_id, outcome.state, source),))
        case Verdict.DELETED if state is not None:
            return Decision(outcome.verdict, _deletion(source, state.version, purge_floor))
        case Verdict.KNOWN if state is None and (purge := _due_purge(change, retention_us)) is not None:
            # Delivered again after a crash: whether its null was acknowledged is not known.
            return Decision(
                Verdict.DELETED, _deletion(source, Version(purge.seen, purge.seen_n), purge_floor)
            )
        case Verdict.UNSUPPORTED:
            detail = f"no fold for {', '.join(_kinds(change))}: replay the record once this app has one"
            return _refuse(RefusalCode.UNSUPPORTED, detail, outcome.verdict)
        case Verdict.REFUSED:
            detail = f"v {change.v} is not above {purge_floor}, below which the partition has deleted carts"
            return _refuse(RefusalCode.BELOW_PURGE_FLOOR, detail)
        case _:
            return Decision(outcome.verdict)


def _refuse(code: str, detail: str, verdict: Verdict = Verdict.REFUSED) -> Decision:
    return Decision(verdict, refusal=Refusal(code, detail))


def _state(cart_id: str, state: State, source: Source) -> Emission:
    version = state.version
    value = encode_cart(cart_record(cart_id, state, version))
    return Emission(source.key, value, cart_headers(cart_id, version, (source.partition, source.offset)))


def _deletion(source: Source, version: Version, purge_floor: int) -> tuple[Emission, ...]:
    """The floor goes first: a null without it would let a late event bring the cart back."""
    origin = (source.partition, source.offset)
    null = Emission(source.key, None, tombstone_headers(source.key.decode(), version, origin))
    if version.v <= purge_floor:
        return (null,)
    floor = Emission(
        purge_floor_key(source.partition),
        encode_purge_floor(PurgeFloor(version.v)),
        purge_floor_headers(source.partition, version.v, origin),
    )
    return (floor, null)


def _due_purge(change: Change, retention_us: int) -> Purge | None:
    match change.delta:
        case (Purge() as step,) if 2 * step.at - step.seen >= 2 * retention_us:
            return step
    return None


def _kinds(change: Change) -> list[str]:
    return sorted({str(step.__struct_config__.tag) for step in change.delta})
