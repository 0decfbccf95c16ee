"""Carts as a merge needs them, with the means of a gateway."""

from typing import Final

from gateway.checkout.delivery import CartDelivery
from gateway.postgres.hydration import DatabaseUnavailable, Forgotten, Hydration
from gateway.resilience.deadline import Deadline
from merges.saga import FoundCart, MergeWaits
from store.redis import Applied, Replayed


class DeliveredCarts:
    """Delivers carts itself: it publishes what still stands in the outbox, and waits for the rows."""

    def __init__(self, delivery: CartDelivery, hydration: Hydration, seconds: float) -> None:
        self._delivery: Final = delivery
        self._hydration: Final = hydration
        self._seconds: Final = seconds

    async def deliver(self, cart_id: str, but: frozenset[str]) -> FoundCart:
        """See merges.saga.Carts. Raises Problem, MergeWaits, StoreError."""
        state = await self._delivery.deliver(cart_id, Deadline(self._seconds), but)
        return await self.row(cart_id) if state is None else FoundCart(state)

    async def row(self, cart_id: str) -> FoundCart:
        """See merges.saga.Carts. Raises MergeWaits."""
        try:
            found = await self._hydration.find(cart_id)
        except DatabaseUnavailable as error:
            raise MergeWaits("the database does not answer") from error
        if isinstance(found, Forgotten):
            return FoundCart(None, found.version_number)
        return FoundCart(found)

    async def publish(self, outcome: Applied | Replayed) -> None:
        """See merges.saga.Carts."""
        await self._delivery.publish(outcome)
