"""Carts that Redis lacks: under what they are missing, and what was found of them elsewhere."""

import msgspec

from carts.protocol import CartRow, Marker, Miss, row_counts


class Absence(msgspec.Struct, frozen=True):
    """What was found elsewhere of a cart that Redis lacks: after which miss, and how far the rows were.

    Scripts check whether it still counts (carts.protocol.row_counts).
    """

    miss: Miss
    rows_position: int


class Missing(msgspec.Struct, frozen=True):
    """Redis is authoritative for the partition and has no such cart: look into its row.

    `marker` is the partition's, `time_us` a time of Redis's clock before the cart was looked for.
    """

    marker: Marker
    time_us: int

    @property
    def miss(self) -> Miss:
        """What is remembered of it."""
        return Miss(self.marker.restoration, self.time_us)

    def is_met_by(self, row: CartRow) -> bool:
        """Whether the row, read after this, may stand for the cart, as far as known without asking Redis."""
        return row_counts(self.miss, row.position_for(self.marker), self.marker, self.time_us)

    def found(self, row: CartRow) -> Absence:
        """That the row was read after this."""
        return Absence(self.miss, row.position_for(self.marker))
