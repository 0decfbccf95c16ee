"""What there is to buy at a testbed, and how it gets there: products that nobody counts, and counted ones."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from tests.faults.history import History, now_us
from tests.faults.order_records import Stocked
from tests.support.waiting import PATIENCE_S

CURRENCY: Final = "EUR"
OWN: Final = tuple(f"p{number}" for number in range(600))
"""Products of which there is no end; so many that two clients seldom meet."""
WANTED: Final = OWN[:8]
"""Those that are saved for later: so few that two clients meet."""
NAMED: Final = {"tea": 350, "jam": 420, "bun": 80, "recovered": 100}
"""Those that tests ask for by name, with their prices."""
AMPLE_PIECES: Final = 1_000_000
RARE_PIECES: Final = 40
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Counted:
    """A run's own products with counted pieces: one that everybody adds, and some that sell out."""

    run: str

    @property
    def shared(self) -> str:
        """There is more of it than anybody can buy."""
        return f"{self.run}-shared"

    @property
    def rare(self) -> tuple[str, ...]:
        """There are few of each."""
        return tuple(f"{self.run}-rare{number}" for number in range(4))

    def pieces(self) -> dict[str, int]:
        """How many there are of each in the beginning."""
        return {self.shared: AMPLE_PIECES, **dict.fromkeys(self.rare, RARE_PIECES)}


def price(product_id: str) -> int:
    """Always the same for a product, so that prices need no order."""
    return NAMED.get(product_id, 100 + sum(product_id.encode()) % 900)


async def offer(gateway: str, products: Mapping[str, int | None]) -> None:
    """Brings products with their pieces (none: not counted) into the catalogue, and waits till it shows them.

    Raises TimeoutError.
    """
    lines = b"\n".join(
        msgspec.json.encode(
            {
                "product_id": product_id,
                "name": product_id,
                "unit_price": price(product_id),
                "currency": CURRENCY,
                "stock": pieces,
            }
        )
        for product_id, pieces in products.items()
    )
    async with aiohttp.ClientSession(gateway) as session, asyncio.timeout(PATIENCE_S):
        # After a scene that has broken Postgres the gateway may still be about to connect; again is safe.
        while await _imported(session, lines) != len(products):  # noqa: ASYNC110  another process takes them
            await asyncio.sleep(_POLL_SECONDS)
        for product_id in products:
            while not await _is_shown(session, product_id):  # noqa: ASYNC110  another process shows it
                await asyncio.sleep(_POLL_SECONDS)


async def stock(gateway: str, history: History, pieces: Mapping[str, int]) -> None:
    """Brings counted products into the catalogue, and notes in the history how many there are."""
    await offer(gateway, pieces)
    for product_id, count in pieces.items():
        history.write(Stocked(at=now_us(), product_id=product_id, pieces=count))


async def _imported(session: aiohttp.ClientSession, lines: bytes) -> int | None:
    """How many of the products the gateway has taken; None where it could not."""
    headers = {"content-type": "application/x-ndjson"}
    async with session.post("/v1/products/import", data=lines, headers=headers) as response:
        last: dict[str, int] = msgspec.json.decode((await response.read()).splitlines()[-1])
        return last.get("imported")


async def _is_shown(session: aiohttp.ClientSession, product_id: str) -> bool:
    async with session.get(f"/v1/products/{product_id}") as response:
        return response.status == 200
