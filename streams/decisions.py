"""What the compaction agent does with a `cart-changed` record. Pure."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from carts.fold import Verdict, fold
from carts.limits import TIMING, Timing
from carts.operations import Change, Purge, Seed
from carts.state import State, Version
from topics.codec import decode_change, decode_state, encode_cart
from topics.errors import RecordError
from topics.headers import Headers, cart_headers, tombstone_headers
from topics.records import cart_record


class ChangeSource(msgspec.Struct, frozen=True):
    """A `cart-changed` record as it was consumed."""

    key: bytes
    value: bytes | None
    partition: int
    offset: int


class Origin(NamedTuple):
    """Where a change stands in `cart-changed`."""

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


class LiftedFloor(NamedTuple):
    """A purge floor that is higher than the partition's was; `origin` is the purge that has lifted it."""

    purge_floor: int
    origin: Origin


class Decision(msgspec.Struct, frozen=True):
    """What to do with a record: an emission, or a refusal; neither if there is nothing to say.

    A floor goes first: a tombstone without it would let a late event bring the cart back.
    """

    verdict: Verdict
    emission: Emission | None = None
    floor: LiftedFloor | None = None
    refusal: Refusal | None = None


class Effect(NamedTuple):
    """What a change does: a `state` to be sent, the version `deleted` with DELETED, or a refusal.

    The state is new with CHANGED. With KNOWN it is what the table has, and `carts` may have lost.
    """

    verdict: Verdict
    state: State | None = None
    deleted: Version | None = None
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
    effect = _effect_of(held, purge_floor, source, rules)
    origin = Origin(source.partition, source.offset)
    if effect.state is not None:
        emission = state_emission(source.key, effect.state, origin)
        size = len(emission.value or b"")
        if size > rules.max_bytes:
            return Decision(Verdict.REFUSED, refusal=too_large(size, rules.max_bytes))
        return Decision(effect.verdict, emission)
    if effect.deleted is not None:
        tombstone = tombstone_emission(source.key, effect.deleted, origin)
        is_lifted = effect.deleted.number > purge_floor
        floor = LiftedFloor(effect.deleted.number, origin) if is_lifted else None
        return Decision(effect.verdict, tombstone, floor)
    return Decision(effect.verdict, refusal=effect.refusal)


def _effect_of(held: bytes | None, purge_floor: int, source: ChangeSource, rules: Rules) -> Effect:
    change = read_change(source.key, source.value)
    if isinstance(change, Refusal):
        return Effect(Verdict.REFUSED, refusal=change)
    state = read_state(held)
    if isinstance(state, Refusal):
        return Effect(Verdict.REFUSED, refusal=state)
    return take_effect(state, change, purge_floor, rules)


def read_change(key: bytes, value: bytes | None) -> Change | Refusal:
    """The change in a record, or why nobody can take it."""
    try:
        change = decode_change(value)
    except RecordError as error:
        return Refusal(error.code, error.detail)
    if change.cart_id.encode() != key:
        return Refusal(RefusalCode.WRONG_KEY, f"its key is not its cart_id {change.cart_id}: the key decides")
    return change


def read_state(held: bytes | None) -> State | Refusal | None:
    """The state in the table's value of a cart, or why its changes cannot be taken."""
    try:
        return decode_state(held) if held is not None else None
    except RecordError as error:
        detail = f"what `carts` holds of the cart is unreadable, {error}: repair it and replay the record"
        return Refusal(RefusalCode.UNREADABLE_STATE, detail)


def take_effect(state: State | None, change: Change, purge_floor: int, rules: Rules) -> Effect:
    """Fold a change into the state of its cart."""
    outcome = fold(
        state, change, purge_floor=purge_floor, retention_us=rules.retention_us, timing=rules.timing
    )
    match outcome.verdict:
        # Who publishes a seed has not found it in `carts`: a log that has lost its end lacks what the table
        # still has, and gets it again.
        case (Verdict.CHANGED | Verdict.KNOWN) as verdict if verdict is Verdict.CHANGED or _is_seed(change):
            return Effect(verdict, outcome.state)
        case Verdict.DELETED if state is not None:
            return Effect(Verdict.DELETED, deleted=state.version)
        case Verdict.KNOWN if state is None and (purge := _due_purge(change, rules.retention_us)) is not None:
            # Delivered again after a crash: its tombstone may not have been acknowledged, so send it again.
            return Effect(Verdict.DELETED, deleted=Version(purge.seen, purge.seen_operation_count))
        case Verdict.UNSUPPORTED:
            detail = f"no fold for {', '.join(_kinds(change))}: replay the record once this app has one"
            return Effect(Verdict.UNSUPPORTED, refusal=Refusal(RefusalCode.UNSUPPORTED, detail))
        case Verdict.REFUSED:
            detail = (
                f"v {change.version} is not above {purge_floor}, below which the partition has deleted carts"
            )
            return Effect(Verdict.REFUSED, refusal=Refusal(RefusalCode.BELOW_PURGE_FLOOR, detail))
        case verdict:
            return Effect(verdict)


def too_large(size: int, max_bytes: int) -> Refusal:
    """Of a change whose cart the topic would refuse, for ever."""
    return Refusal(RefusalCode.TOO_LARGE, f"the cart would be a record of {size} bytes, over {max_bytes}")


def state_emission(key: bytes, state: State, origin: Origin) -> Emission:
    """The cart's record; `origin` is the last change in it."""
    cart_id, version = key.decode(), state.version
    value = encode_cart(cart_record(cart_id, state, version))
    return Emission(key, value, cart_headers(cart_id, version, origin))


def tombstone_emission(key: bytes, version: Version, origin: Origin) -> Emission:
    """The record that deletes the cart up to a version; `origin` is the purge."""
    return Emission(key, None, tombstone_headers(key.decode(), version, origin))


def _due_purge(change: Change, retention_us: int) -> Purge | None:
    match change.delta:
        case (Purge() as step,) if 2 * step.at - step.seen >= 2 * retention_us:
            return step
    return None


def _is_seed(change: Change) -> bool:
    return any(isinstance(step, Seed) for step in change.delta)


def _kinds(change: Change) -> list[str]:
    return sorted({str(step.__struct_config__.tag) for step in change.delta})
