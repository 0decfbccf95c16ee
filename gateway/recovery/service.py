"""What links do: lead back to a cart left behind, or end mails about them."""

from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import quote

from carts.lifetime import GUEST_PREFIX
from gateway.http.problems import LINK_NOT_FOUND, Problem
from gateway.identity.guest_tokens import GuestTokens
from gateway.postgres.database import Database
from gateway.recovery.requests import RecoveredCart
from runtime.recovery import SignedLinks
from store.postgres import abandonments


class Recovery:
    """Follows links. Each method raises Problem for a link that is none, or when Postgres does not answer."""

    def __init__(self, links: SignedLinks | None, database: Database, guests: GuestTokens) -> None:
        """Without `links` no link is one."""
        self._links: Final = links
        self._database: Final = database
        self._guests: Final = guests

    async def recover(self, link: str) -> RecoveredCart:
        """The cart that a link leads to. Nothing changes: programs that look at mails follow links, too."""
        period = None if self._links is None else self._links.recovered(link)
        if period is None or not await self._database.transact(
            partial(abandonments.can_be_recovered, period=period)
        ):
            raise _not_found()
        cart_id = period.cart_id
        address = f"/v1/carts/{quote(cart_id, safe=':')}"
        if not cart_id.startswith(GUEST_PREFIX):
            return RecoveredCart(cart_id, address)
        minted = self._guests.mint_for(cart_id)
        return RecoveredCart(cart_id, address, minted.token, datetime.fromtimestamp(minted.expires_at, UTC))

    def check_unsubscribe(self, link: str) -> None:
        """Raises Problem for a link that is none."""
        self._address_hash(link)

    async def unsubscribe(self, link: str) -> None:
        """Send no more mails about carts to the link's address. Asking again changes nothing."""
        await self._database.transact(partial(abandonments.suppress, address_hash=self._address_hash(link)))

    def _address_hash(self, link: str) -> bytes:
        found = None if self._links is None else self._links.unsubscribed(link)
        if found is None:
            raise _not_found()
        return found


def _not_found() -> Problem:
    return Problem(
        LINK_NOT_FOUND,
        "This link is not of this shop, has expired, or its cart was erased; log in to see it.",
    )
