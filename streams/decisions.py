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


class ChangeSource(msgspec.Struct, frozen=True):
    """A `cart-changed` record as it was consumed."""

    key: bytes
    value: bytes | None
    partition: int
    offset: int


class RefusalCode(StrEnum):
    """Why a readable change is refused: an error code of dead letters, like those of RecordError."""

    WRONG_KEY = "wrong_key"
    UNSUPPORTED = "unsupported"
    UNREADABLE_STATE = "unreadable_state"
    TOO_LARGE = "too_large"
    BELOW_PURGE_FLOOR = "below_purge_floor"


class Refusal(msgspec.Struct, frozen=True):
    """The record becomes a dead letter: a short code and a sentence."""

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


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told by its settings.

    `retention_us` is how long a cart must have been expired before a purge deletes it, `max_bytes` the
    largest value that `carts` takes.
    """

    retention_us: int
    max_bytes: int
    timing: Timing = TIMING


def decide(held: bytes | None, purge_floor: int, source: ChangeSource, rules: Rules) -> Decision:
    """Fold a record into the table's value `held` of its cart.

    `purge_floor` is the highest version ever deleted in the partition. A record that nobody can take is
    refused, never raised.
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
        detail = f"what `carts` holds of the cart is unreadable, {error}: repair it and replay the record"
        return _refuse(RefusalCode.UNREADABLE_STATE, detail)
    outcome = fold(
        state, change, purge_floor=purge_floor, retention_us=rules.retention_us, timing=rules.timing
    )
    return _follow(source, change, state, outcome, purge_floor, rules)


def _follow(
    source: ChangeSource,
    change: Change,
    state: State | None,
    outcome: Outcome,
    purge_floor: int,
    rules: Rules,
) -> Decision:
    match outcome.verdict:
        case Verdict.CHANGED if outcome.state is not None:
            return _emit(change.cart_id, outcome.state, source, rules.max_bytes)
        case Verdict.DELETED if state is not None:
            return Decision(outcome.verdict, _deletion(source, state.version, purge_floor))
        case Verdict.KNOWN if state is None and (purge := _due_purge(change, rules.retention_us)) is not None:
            # Delivered again after a crash: its tombstone may not have been acknowledged, so send it again.
            return Decision(
                Verdict.DELETED,
                _deletion(source, Version(purge.seen, purge.seen_operation_count), purge_floor),
            )
        case Verdict.UNSUPPORTED:
            detail = f"no fold for {', '.join(_kinds(change))}: replay the record once this app has one"
            return _refuse(RefusalCode.UNSUPPORTED, detail, outcome.verdict)
        case Verdict.REFUSED:
            detail = (
                f"v {change.version} is not above {purge_floor}, below which the partition has deleted carts"
            )
            return _refuse(RefusalCode.BELOW_PURGE_FLOOR, detail)
        case _:
            return Decision(outcome.verdict)


def _refuse(code: str, detail: str, verdict: Verdict = Verdict.REFUSED) -> Decision:
    return Decision(verdict, refusal=Refusal(code, detail))


def _emit(cart_id: str, state: State, source: ChangeSource, max_bytes: int) -> Decision:
    version = state.version
    value = encode_cart(cart_record(cart_id, state, version))
    if len(value) > max_bytes:
        # The topic would refuse it, and the worker would retry it for ever.
        return _refuse(
            RefusalCode.TOO_LARGE, f"the cart would be a record of {len(value)} bytes, over {max_bytes}"
        )
    headers = cart_headers(cart_id, version, (source.partition, source.offset))
    return Decision(Verdict.CHANGED, (Emission(source.key, value, headers),))


def _deletion(source: ChangeSource, version: Version, purge_floor: int) -> tuple[Emission, ...]:
    """The floor goes first: a tombstone without it would let a late event bring the cart back."""
    origin = (source.partition, source.offset)
    tombstone = Emission(source.key, None, tombstone_headers(source.key.decode(), version, origin))
    if version.number <= purge_floor:
        return (tombstone,)
    floor = Emission(
        purge_floor_key(source.partition),
        encode_purge_floor(PurgeFloor(version.number)),
        purge_floor_headers(source.partition, version.number, origin),
    )
    return (floor, tombstone)


def _due_purge(change: Change, retention_us: int) -> Purge | None:
    match change.delta:
        case (Purge() as step,) if 2 * step.at - step.seen >= 2 * retention_us:
            return step
    return None


def _kinds(change: Change) -> list[str]:
    return sorted({str(step.__struct_config__.tag) for step in change.delta})
