"""A cart as Redis has it, read back: its version at once, its lines when somebody asks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from carts.content import Content, shown
from carts.state import Status, Version
from carts.view import CartView, Totals, line_of, saved_of, time_of
from store.redis.packing import (
    DETAILS_FIELD,
    EXTRAS_FIELD,
    HEAD_FIELD,
    LINE_PREFIX,
    METADATA_FIELD,
    SAVED_FIELD,
    Head,
    details_json,
    unpack_details,
    unpack_extras,
    unpack_head,
    unpack_line,
    unpack_metadata,
    unpack_saved,
)

_JSON: Final = msgspec.json.Encoder()
_LINE_JSON: Final = (
    b'{"line_id":"%b",%b,"quantity":%b,"unit_price":%b,"options":%b,"metadata":%b,"line_total":%d}'
)
_VIEW_JSON: Final = (
    b'{"cart_id":"%b","status":"%b","version":"%b-%b-%012x","currency":%b,"lines":[%b],'
    b'"totals":{"subtotal":%b,"discount":0,"tax":0,"total":%b},"metadata":%b,"details":%b,"saved":%b,"adjustments":[],"warnings":[],'
    b'"merged_into":%b,"created_at":%b,"updated_at":%b}'
)


class StoredCart:
    """The fields of a cart's hash. Parsing is put off: most requests want the version and the JSON only."""

    __slots__ = ("_fields", "_head", "cart_id")

    def __init__(self, cart_id: str, reply: Sequence[bytes] | dict[bytes, bytes]) -> None:
        """`reply`: what HGETALL answers; fields and values in turn are what it returns to a script."""
        self.cart_id: Final = cart_id
        self._fields: Final = reply if isinstance(reply, dict) else _fields_of(reply)
        self._head: Final = self._fields[HEAD_FIELD].split(b" ")

    @property
    def head(self) -> Head:
        """The numbers that a script keeps of the cart."""
        return unpack_head(self._fields[HEAD_FIELD])

    @property
    def version(self) -> Version:
        """The version."""
        return version_of(self._fields[HEAD_FIELD])

    @property
    def version_number(self) -> int:
        """The `v` of the version."""
        return int(self._head[0])

    @property
    def tag(self) -> str:
        """The version's tag, the opaque part of the ETag."""
        v, n, digest = self._head[:3]
        return f"{v.decode()}-{n.decode()}-{int(digest):012x}"

    @property
    def status(self) -> Status:
        """What a caller may do with the cart."""
        return self.head.status

    def content(self) -> Content:
        """Lines with all that is remembered of them, removed ones included."""
        head = self.head
        lines = {
            field[len(LINE_PREFIX) :].decode(): unpack_line(packed)
            for field, packed in self._fields.items()
            if field.startswith(LINE_PREFIX)
        }
        return Content(
            lines,
            head.cleared_version,
            head.currency,
            unpack_metadata(self._fields.get(METADATA_FIELD)),
            unpack_details(self._fields.get(DETAILS_FIELD)),
            unpack_saved(self._fields.get(SAVED_FIELD)),
        )

    def view(self) -> CartView:
        """The reader's view."""
        head, content = self.head, self.content()
        lines = [line_of(line_id, line) for line_id, line in shown(content)]
        return CartView(
            cart_id=self.cart_id,
            status=head.status,
            version=self.tag,
            currency=content.currency,
            lines=lines,
            totals=Totals(head.subtotal, 0, 0, head.subtotal),
            metadata=content.metadata,
            details=content.details,
            saved=saved_of(content.saved),
            merged_into=unpack_extras(self._fields.get(EXTRAS_FIELD)).merged_into,
            created_at=time_of(head.born),
            updated_at=time_of(head.version_number),
        )

    def json(self) -> bytes:
        """Exactly `msgspec.json.encode(self.view())`, without making the Structs.

        By their grammar line ids, product ids and currencies need no escaping; items and metadata are JSON.
        """
        fields = self._fields
        v, n, digest, _, born, _, _, _, subtotal, _, _, _, _, status, currency = self._head
        extras = fields.get(EXTRAS_FIELD)
        merged_into = _JSON.encode(unpack_extras(extras).merged_into) if extras else b"null"
        return _VIEW_JSON % (
            self.cart_id.encode(),
            status,
            v,
            n,
            int(digest),
            b"null" if currency == b"-" else b'"%b"' % currency,
            b",".join(self._lines_json()),
            subtotal,
            subtotal,
            fields.get(METADATA_FIELD, b"{}"),
            details_json(fields[DETAILS_FIELD]) if DETAILS_FIELD in fields else b"{}",
            _JSON.encode(saved_of(unpack_saved(fields.get(SAVED_FIELD)))) if SAVED_FIELD in fields else b"[]",
            merged_into,
            _time_json(int(born)),
            _time_json(int(v)),
        )

    def _lines_json(self) -> list[bytes]:
        lines = []
        for field, packed in self._fields.items():
            if not field.startswith(LINE_PREFIX):
                continue
            quantity, _, place, unit_price, rest = packed.split(b" ", 4)
            if quantity[0] in b"-0":
                continue  # removed
            item, _, metadata = rest.partition(b"\n")
            product, _, options = item[1:-1].partition(b',"options":')
            line_id = field[len(LINE_PREFIX) :]
            total = int(quantity) * int(unit_price)
            json = _LINE_JSON % (line_id, product, quantity, unit_price, options or b"{}", metadata, total)
            lines.append((int(place), line_id, json))
        lines.sort()
        return [json for _, _, json in lines]


def _time_json(v: int) -> bytes:
    """JSON of `carts.view.time_of(v)`, whose timedelta takes longer than all the lines of a cart."""
    if not v:
        return b"null"
    second, microsecond = divmod(v // 2, 1_000_000)
    return b'"%b.%06dZ"' % (_second(second), microsecond) if microsecond else b'"%bZ"' % _second(second)


@lru_cache(maxsize=4096)
def _second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat().encode()


def _fields_of(reply: Sequence[bytes]) -> dict[bytes, bytes]:
    pairs = iter(reply)
    return dict(zip(pairs, pairs, strict=True))


def version_of(packed_head: bytes) -> Version:
    """The version out of field `m`."""
    v, n, digest, _ = packed_head.split(b" ", 3)
    return Version(int(v), int(n), int(digest))
