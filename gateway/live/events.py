"""What a stream says, as text/event-stream (WHATWG HTML, server-sent events). Pure."""

from enum import StrEnum
from typing import Final

import msgspec

from carts.state import Status
from gateway.carts.reading import CartDocument
from gateway.http.problems import Problem
from gateway.pricing.service import PricingWarning

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment: clients ignore it, proxies and dead connections do not."""


class EventKind(StrEnum):
    """The name of an event."""

    CART = "cart"
    """The cart as it is now."""
    MERGED = "merged"
    """The cart has become part of another one, which it names."""
    STALE = "stale"
    """A copy from Postgres; Redis may know better. The next `cart` is current again."""
    UNAVAILABLE = "unavailable"
    """What the cart is now cannot be known; the data is a problem. The next `cart` is current again."""


class LiveEvent(msgspec.Struct, frozen=True):
    """An event, encoded. `tag` is the version it shows, none for one that may not be the newest.

    `is_partial`: the cart is the newest, and something shown beside it was not available.
    """

    kind: EventKind
    frame: bytes
    tag: str | None = None
    is_partial: bool = False


class Told(msgspec.Struct, frozen=True):
    """What a client knows: the version it was sent last; the doubt it was told since, if any."""

    tag: str | None = None
    doubt: bytes | None = None

    def lacks(self, event: LiveEvent) -> bool:
        """Whether the event is news."""
        if event.tag is None:
            return event.frame != self.doubt
        return self.doubt is not None or event.tag != self.tag

    def after(self, event: LiveEvent) -> "Told":
        """What the client knows once the event is sent."""
        return Told(self.tag, event.frame) if event.tag is None else Told(event.tag)


class _Warning(msgspec.Struct):
    code: str


class _Shown(msgspec.Struct):
    status: Status
    warnings: list[_Warning] = []


_BODY: Final = msgspec.json.Decoder(_Shown)
_PASSING: Final = frozenset(PricingWarning)
"""Warnings that a later reading of the same version may not have."""


def current(found: CartDocument) -> LiveEvent:
    """The event of a cart that was read just now."""
    cart = _BODY.decode(found.body)
    kind = EventKind.MERGED if cart.status is Status.MERGED else EventKind.CART
    is_partial = any(warning.code in _PASSING for warning in cart.warnings)
    return LiveEvent(kind, _frame(kind, found.body, found.tag), found.tag, is_partial)


def stale(found: CartDocument) -> LiveEvent:
    """The event of a copy that may be outdated. It has no id: a client comes back with its last one."""
    return LiveEvent(EventKind.STALE, _frame(EventKind.STALE, found.body))


def unavailable(problem: Problem) -> LiveEvent:
    """The event of a cart that cannot be read."""
    return LiveEvent(EventKind.UNAVAILABLE, _frame(EventKind.UNAVAILABLE, problem.body()))


def retry(seconds: float) -> bytes:
    """Tells the client how long to wait before it comes back."""
    return b"retry: %d\n\n" % round(seconds * 1000)


def _frame(kind: EventKind, data: bytes, tag: str | None = None) -> bytes:
    """The JSON must be one line, as everything that was encoded here is."""
    head = b"" if tag is None else b"id: %b\n" % tag.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, kind.encode(), data)
