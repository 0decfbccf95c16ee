"""Folds a run of `cart-changed` records into one record of `carts` for each cart that they touch. Pure.

What stands in `carts` in the end, and what is refused, is what `decisions.decide` says record by record.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from carts.fold import Verdict
from carts.state import State, Version
from streams.decisions import (
    Emission,
    LiftedFloor,
    Origin,
    Refusal,
    Rules,
    read_change,
    read_state,
    state_emission,
    take_effect,
    tombstone_emission,
    too_large,
)

Lookup = Callable[[bytes], bytes | None]
"""The table's value of a key."""

_GROWTH: Final = 4
_GROWTH_BYTES: Final = 1024
"""A change lets the record of its cart grow by so many times its own size and so many bytes, at the most: it
stands in the window, and as lines in the view and in the base."""


class RefusedRecord(NamedTuple):
    """A record of the run that becomes a dead letter, and why."""

    record: ConsumerRecord
    refusal: Refusal


class FoldedRun(NamedTuple):
    """What to do with a run: the floor, then emissions, dead letters; and what its records did to carts."""

    floor: LiftedFloor | None
    emissions: list[Emission]
    refused: list[RefusedRecord]
    verdicts: Counter[Verdict]


def fold_run(
    records: Sequence[ConsumerRecord], partition: int, purge_floor: int, lookup: Lookup, rules: Rules
) -> Generator[None, None, FoldedRun]:
    """Fold the records of one partition on top of what `lookup` finds; yields where the caller may pause.

    `purge_floor` is the highest version ever deleted in the partition.
    """
    # How large a record gets is foreseen, not measured after every change. Where that was wrong all is folded
    # again and measured, for the change that makes a cart too large must be refused, and no other.
    for is_measured in (False, True):
        fold = _Fold(partition, purge_floor, lookup, rules, is_measured=is_measured)
        for record in records:
            fold.take(record)
            yield
        emissions = []
        for emission in fold.emissions():
            emissions.append(emission)
            yield
        if all(len(emission.value or b"") <= rules.max_bytes for emission in emissions):
            break
    return FoldedRun(fold.floor, emissions, fold.refused, fold.verdicts)


class _Cart(msgspec.Struct):
    """A cart that the run touches, as it is after every record so far."""

    state: State | None
    unreadable: Refusal | None
    most_bytes: int
    """Its record is not larger."""
    changed_at: int | None = None
    """The offset of the last change, if there was one: the state is to be sent."""
    tombstone: Emission | None = None
    """To be sent if there is no state any more."""


class _Fold:
    """The carts of a run. Each is decoded once, and encoded once at the end."""

    def __init__(
        self, partition: int, purge_floor: int, lookup: Lookup, rules: Rules, *, is_measured: bool
    ) -> None:
        self.refused: list[RefusedRecord] = []
        self.verdicts: Counter[Verdict] = Counter()
        self.floor: LiftedFloor | None = None
        self._partition = partition
        self._purge_floor = purge_floor
        self._lookup = lookup
        self._rules = rules
        self._is_measured = is_measured
        self._carts: dict[bytes, _Cart] = {}

    def take(self, record: ConsumerRecord) -> None:
        """Fold one record."""
        change = read_change(record.key, record.value)
        if isinstance(change, Refusal):
            self._refuse(record, change)
            return
        cart = self._carts.get(record.key)
        if cart is None:
            cart = self._carts[record.key] = self._open(record.key)
        if cart.unreadable is not None:
            self._refuse(record, cart.unreadable)
            return
        effect = take_effect(cart.state, change, self._purge_floor, self._rules)
        if effect.refusal is not None:
            self._refuse(record, effect.refusal, effect.verdict)
            return
        if effect.state is not None and (overgrown := self._grow(cart, record, effect.state)) is not None:
            self._refuse(record, overgrown)
            return
        self.verdicts[effect.verdict] += 1
        if effect.state is not None:
            cart.state, cart.changed_at = effect.state, record.offset
        elif effect.deleted is not None:
            self._delete(record, cart, effect.deleted)

    def emissions(self) -> Generator[Emission, None, None]:
        """One for each cart that has changed."""
        for key, cart in self._carts.items():
            if cart.changed_at is not None and cart.state is not None:
                yield state_emission(key, cart.state, Origin(self._partition, cart.changed_at))
            elif cart.tombstone is not None:
                yield cart.tombstone

    def _open(self, key: bytes) -> _Cart:
        held = self._lookup(key)
        state = read_state(held)
        if isinstance(state, Refusal):
            return _Cart(None, state, 0)
        return _Cart(state, None, len(held or b""))

    def _grow(self, cart: _Cart, record: ConsumerRecord, state: State) -> Refusal | None:
        """Note how large the record of the cart may be now; a refusal if it is too large."""
        most, max_bytes = cart.most_bytes + _GROWTH * len(record.value) + _GROWTH_BYTES, self._rules.max_bytes
        if self._is_measured or most > max_bytes:
            most = len(state_emission(record.key, state, Origin(self._partition, record.offset)).value or b"")
            if most > max_bytes:
                return too_large(most, max_bytes)
        cart.most_bytes = most
        return None

    def _delete(self, record: ConsumerRecord, cart: _Cart, version: Version) -> None:
        origin = Origin(self._partition, record.offset)
        cart.state = None
        cart.tombstone = tombstone_emission(record.key, version, origin)
        if version.number > self._purge_floor:
            self._purge_floor = version.number
            self.floor = LiftedFloor(version.number, origin)

    def _refuse(self, record: ConsumerRecord, refusal: Refusal, verdict: Verdict = Verdict.REFUSED) -> None:
        self.verdicts[verdict] += 1
        self.refused.append(RefusedRecord(record, refusal))
