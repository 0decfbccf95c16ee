"""What a merge on login decides: which lines of a guest's cart go along to the user's, and how many pieces.

A merge is a sequence of *transfers*. Each is decided once, on snapshots of both folded carts that know every
transfer before it, and takes some lines out of the guest's cart for good: what they bring the user's cart is
fixed then, too. What a transfer finds no room for is lost only where the rest of its line goes along; a line
that cannot go along at all stays in the guest's cart. The first transfer brings the details that the user's
cart lacks, and what is saved for later.

The user's cart may be another guest's, that of the next session, and go into a third one then. So all
transfers of a cart, out of it and into it, are numbered in one sequence.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from carts.availability import Code
from carts.content import Line, SavedLine, shown, subtotal
from carts.details import Details, lacking
from carts.ids import finish_op_id, merge_op_id
from carts.limits import LIMITS, MAX_SAFE_INTEGER, Limits
from carts.operations import Add, Claim, Delta, Finish, Item, Merged, OrderedLine, Save, SetDetails
from carts.ordering import counted_attempts
from carts.products import Facts
from carts.state import State

TRANSFER_BYTES: Final = 48 * 1024
"""JSON of the lines of one transfer: it has to find room in the user's window beside what is there."""
_LINE_OVERHEAD_BYTES: Final = 96
"""What a line takes beside its item and metadata, at most: its id's prefix, quantity, versions, price."""


class Strategy(StrEnum):
    """How many pieces a line has that is in both carts."""

    SUM = "sum"
    """Those of both."""
    MAX = "max"
    """The larger number of the two."""
    KEEP = "keep"
    """Those of the user's cart."""


class Shortage(StrEnum):
    """Why pieces cannot go along, beside the codes of `carts.availability.Code`."""

    CURRENCY = "currency"
    LINE_LIMIT = "line_limit"
    """The cart has as many lines as it may have."""
    QUANTITY_LIMIT = "quantity_limit"
    SUBTOTAL_LIMIT = "subtotal_limit"
    SIZE_LIMIT = "size_limit"


class Pieces(msgspec.Struct, frozen=True):
    """Pieces of a line of the guest's cart, and why they could not go along."""

    code: str
    line_id: str
    quantity: int


class Carried(msgspec.Struct, frozen=True):
    """A line that went along: the pieces that left the guest's cart, and those that reached the user's."""

    line_id: str
    taken: int
    granted: int


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a merge: the guest cart's transfer of that `number`, the user's cart's with that `place`.

    `decided_version` is the v of a write at the time of the decision. `warnings` are pieces lost because only
    some of their line found room, `left` the lines that stay in the guest's cart. `is_last`: nothing else can
    go along. `place` is 0 where nothing reaches the user's cart.
    """

    merge_id: str
    number: int
    place: int
    decided_version: int
    additions: Delta
    withdrawal: Delta
    carried: tuple[Carried, ...]
    warnings: tuple[Pieces, ...]
    left: tuple[Pieces, ...]
    is_last: bool

    @property
    def merge_op_id(self) -> str:
        """The id of the operation on the user's cart."""
        return merge_op_id(self.place, self.merge_id)

    @property
    def finish_op_id(self) -> str:
        """The id of the operation on the guest's cart."""
        return finish_op_id(self.number, self.merge_id)


class Merge(msgspec.Struct, frozen=True):
    """Who merges what into what; fixed when the merge begins."""

    merge_id: str
    guest: str
    into: str
    strategy: Strategy

    def claim(self) -> Delta:
        """The change that makes the guest's cart refuse writes."""
        return (Claim(self.merge_id, self.into),)


class Basis(msgspec.Struct, frozen=True):
    """What a transfer is decided on: snapshots of both folded carts, and the catalogue.

    `facts` has the products of the guest's lines, None for one that the catalogue does not know; no facts at
    all: callers name the prices, and each line keeps its own.
    """

    guest: State
    user: State
    facts: Mapping[str, Facts | None] | None = None


def knows_transfer(snapshot: State, number: int, decided_version: int) -> bool:
    """Whether a folded cart has its transfer of that number: only then may it be the basis of the next.

    Or whether it was born after the cart that had it.
    """
    return snapshot.transfers >= number or decided_version <= snapshot.start


def is_owing(guest: State) -> bool:
    """Whether a guest's cart that has been merged holds lines: some of them may be able to go along now."""
    return bool(shown(guest.content()))


def plan(
    merge: Merge,
    basis: Basis,
    earlier: Iterable[Carried] = (),
    *,
    number: int,
    place: int,
    now_us: int,
    limits: Limits = LIMITS,
) -> Transfer:
    """The next transfer of a merge.

    `earlier` is what the merge has carried before: the result is the same as if all had been carried at once.
    """
    guest = basis.guest
    before = list(earlier)
    draft = _Draft(merge.strategy, basis, before, limits)
    if not before and guest.merged_into is None:
        draft.take_details(guest.content().details)
        draft.take_saved(guest.content().saved)
    for line_id, line in shown(guest.content()):
        draft.take(line_id, line)
    last = (Merged(merge.merge_id, merge.into),) if not draft.is_cut_short else ()
    finish = Finish(tuple(draft.taken), counted_attempts(guest), guest.version_number, merge.merge_id, number)
    return Transfer(
        merge_id=merge.merge_id,
        number=number,
        place=place if draft.additions or draft.beside else 0,
        decided_version=2 * now_us,
        additions=(*draft.additions, *draft.beside),
        withdrawal=(finish, *last),
        carried=tuple(draft.carried),
        warnings=tuple(draft.warnings),
        left=tuple(draft.left),
        is_last=not draft.is_cut_short,
    )


class _Draft:
    """A transfer in the making: the user's cart as it fills."""

    def __init__(
        self,
        strategy: Strategy,
        basis: Basis,
        earlier: Iterable[Carried],
        limits: Limits,
    ) -> None:
        self.additions: list[Add] = []
        self.beside: list[SetDetails | Save] = []
        """Details, and what is saved for later."""
        self.taken: list[OrderedLine] = []
        self.carried: list[Carried] = []
        self.warnings: list[Pieces] = []
        self.left: list[Pieces] = []
        self.is_cut_short = False
        """Whether lines are left for the next transfer."""
        self._known_details = basis.user.content().details
        self._known_saved = basis.user.content().saved
        self._strategy = strategy
        self._guest = basis.guest.content()
        self._facts = basis.facts
        self._limits = limits
        self._before: dict[str, Carried] = {}
        for each in earlier:
            before = self._before.get(each.line_id, Carried(each.line_id, 0, 0))
            self._before[each.line_id] = Carried(
                each.line_id, before.taken + each.taken, before.granted + each.granted
            )
        user = basis.user.content()
        self._quantities = {line_id: line.quantity for line_id, line in shown(user)}
        self._currency = user.currency if self._quantities else None
        self._pieces: dict[str, int] = {}
        for _, line in shown(user):
            self._pieces[line.product_id] = self._pieces.get(line.product_id, 0) + line.quantity
        self._tracked = set(user.lines)
        self._subtotal = subtotal(user)
        self._prices = {line_id: line.unit_price for line_id, line in shown(user)}
        self._bytes = (
            _size(user.metadata)
            + _size(user.details)
            + _size(user.saved)
            + sum(_line_bytes(*entry) for entry in user.lines.items())
        )
        self._transfer_bytes = 0

    def take_details(self, details: Details) -> None:
        """Let the details that the user's cart lacks go along, if there is room for them."""
        step = SetDetails(**lacking(self._known_details, details))
        size = _size(step)
        if step.named() and self._bytes + size <= self._limits.content_bytes:
            self._take_beside(step, size)

    def take_saved(self, saved: Mapping[str, SavedLine]) -> None:
        """Let what is saved for later go along, as far as the user's cart has not saved it and has room."""
        count = len(self._known_saved)
        for line_id, line in sorted(saved.items()):
            step = Save(line_id, line.quantity, Item(line.product_id, line.options), line.metadata)
            size = _size(step)
            has_room = (
                count < self._limits.saved_lines
                and self._bytes + size <= self._limits.content_bytes
                and self._transfer_bytes + size <= TRANSFER_BYTES
            )
            if line_id not in self._known_saved and has_room:
                count += 1
                self._take_beside(step, size)

    def _take_beside(self, step: SetDetails | Save, size: int) -> None:
        self.beside.append(step)
        self._bytes += size
        self._transfer_bytes += size

    def take(self, line_id: str, line: Line) -> None:
        """Let a line go along as far as it can."""
        if self.is_cut_short:
            return
        price, currency, refusal = self._price(line)
        wanted = self._wanted(line_id, line.quantity)
        if refusal is None and wanted:
            granted, code = self._room(line_id, line, price, wanted)
        else:
            granted, code = 0, refusal
        if code is not None and not granted:
            self.left.append(Pieces(code, line_id, line.quantity))
            return
        size = _line_bytes(line_id, line)
        if self.carried and (
            len(self.carried) + len(self.beside) >= self._limits.steps
            or self._transfer_bytes + size > TRANSFER_BYTES
        ):
            self.is_cut_short = True
            return
        self._transfer_bytes += size
        decided = max(line.decided_version, self._guest.cleared_version)
        self.taken.append(OrderedLine(line_id, line.quantity, decided))
        self.carried.append(Carried(line_id, line.quantity, granted))
        if granted < wanted and code is not None:
            self.warnings.append(Pieces(code, line_id, wanted - granted))
        if granted:
            self._add(line_id, line, price, currency, granted)

    def _price(self, line: Line) -> tuple[int, str, str | None]:
        """Price and currency of a line in the user's cart, and why it cannot go along at all."""
        if self._facts is None:
            price, currency = line.unit_price, self._guest.currency or ""
        else:
            facts = self._facts.get(line.product_id)
            if facts is None:
                return 0, "", Code.PRODUCT_UNKNOWN.value
            if not facts.active:
                return 0, "", Code.PRODUCT_INACTIVE.value
            price, currency = facts.unit_price, facts.currency
        return price, currency, None if self._currency in {None, currency} else Shortage.CURRENCY.value

    def _wanted(self, line_id: str, quantity: int) -> int:
        held = self._quantities.get(line_id, 0)
        before = self._before.get(line_id)
        match self._strategy:
            case Strategy.SUM:
                return quantity
            case Strategy.MAX:
                taken = before.taken if before is not None else 0
                return min(quantity, max(0, taken + quantity - held))
            case Strategy.KEEP:
                users_own = held > 0 if before is None else before.granted == 0
                return 0 if users_own else quantity

    def _room(self, line_id: str, line: Line, price: int, wanted: int) -> tuple[int, str | None]:
        """How many of the pieces wanted find room, and what keeps the others out."""
        held = self._quantities.get(line_id, 0)
        if not held and len(self._quantities) >= self._limits.lines:
            return 0, Shortage.LINE_LIMIT.value
        if line_id not in self._tracked:
            if len(self._tracked) >= self._limits.tracked_lines:
                return 0, Shortage.LINE_LIMIT.value
            if self._bytes + _line_bytes(line_id, line) > self._limits.content_bytes:
                return 0, Shortage.SIZE_LIMIT.value
        rooms = [(self._limits.quantity - held, Shortage.QUANTITY_LIMIT.value)]
        stock = self._stock(line)
        if stock is not None:
            rooms.append(
                (
                    stock - self._pieces.get(line.product_id, 0),
                    (Code.SHORT_STOCK if stock else Code.OUT_OF_STOCK).value,
                )
            )
        if price:
            # The price of the newest add is the price of all pieces of the line.
            others = self._subtotal - held * self._prices.get(line_id, 0)
            rooms.append(((MAX_SAFE_INTEGER - others) // price - held, Shortage.SUBTOTAL_LIMIT.value))
        room, code = min(rooms)
        return (wanted, None) if wanted <= room else (max(0, room), code)

    def _stock(self, line: Line) -> int | None:
        facts = self._facts.get(line.product_id) if self._facts is not None else None
        return None if facts is None else facts.stock

    def _add(self, line_id: str, line: Line, price: int, currency: str, granted: int) -> None:
        held = self._quantities.get(line_id, 0)
        self.additions.append(
            Add(
                line_id,
                granted,
                price,
                currency,
                Item(line.product_id, line.options),
                # What the user's line says stays.
                line.metadata if line.metadata and not held else None,
            )
        )
        self._currency = currency
        self._subtotal += (held + granted) * price - held * self._prices.get(line_id, 0)
        self._quantities[line_id] = held + granted
        self._prices[line_id] = price
        self._pieces[line.product_id] = self._pieces.get(line.product_id, 0) + granted
        if line_id not in self._tracked:
            self._tracked.add(line_id)
            self._bytes += _line_bytes(line_id, line)


def _size(value: object) -> int:
    return len(msgspec.json.encode(value))


def _line_bytes(line_id: str, line: Line) -> int:
    return (
        _LINE_OVERHEAD_BYTES
        + len(line_id)
        + _size(Item(line.product_id, line.options))
        + _size(line.metadata)
    )
