"""A cart as Redis has it, read back: its version at once, its lines when somebody asks."""

from collections.abc import Mapping

from carts.state import Status, Version
from carts.view import CartView


class StoredCart:
    """The fields of a cart's hash. Parsing is put off: most requests want the version and the JSON only."""

    __slots__ = ("_fields", "cart_id")

    def __init__(self, cart_id: str, fields: Mapping[bytes, bytes]) -> None:
        self.cart_id = cart_id
        self._fields = fields

    @property
    def version(self) -> Version:
        """The version; `.tag()` of it is the opaque part of the ETag."""
        raise NotImplementedError

    @property
    def status(self) -> Status:
        """What a caller may do with the cart."""
        raise NotImplementedError

    def view(self) -> CartView:
        """The reader's view."""
        raise NotImplementedError

    def json(self) -> bytes:
        """Exactly `msgspec.json.encode(self.view())`, without making the Structs."""
        raise NotImplementedError
