"""Carts that Redis lacks, for tests that write to the store past the gateway."""

from carts.protocol import CartRow
from carts.state import State
from store.redis import Absence, CartStore, Missing


async def absence_of(store: CartStore, cart_id: str) -> Absence | None:
    """That there is no row of the cart; None while its partition is not ready."""
    missing = await store.missing(store.partition(cart_id))
    if not isinstance(missing, Missing):
        return None
    marker = missing.marker
    return missing.found(CartRow(None, marker.rows_position, marker.topic_id))


async def hydrated(store: CartStore, cart_id: str, state: State) -> bool:
    """Bring in a state as if it were the cart's row; whether it was brought in."""
    absence = await absence_of(store, cart_id)
    return absence is not None and await store.hydrate(cart_id, state, absence)
