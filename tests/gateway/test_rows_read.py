"""What Postgres does for the pages that shoppers look at: nothing."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.gateway.conftest import catalogue_client_of
from tests.gateway.product_fixtures import product
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Urls

pytestmark = pytest.mark.drill

ROUNDS = 100

# A server process hands in its counters by the time it ends, so they are read when the gateway has stopped.
COUNTERS = """
SELECT relname, seq_scan, seq_tup_read, coalesce(idx_scan, 0), coalesce(idx_tup_fetch, 0)
FROM pg_stat_user_tables ORDER BY relname
"""


def counters(postgres_url: str) -> dict[str, tuple[int, ...]]:
    """Scans and rows read by table, once nobody of the gateway's is connected any more."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'cartstream-gateway' "
            "AND datname = current_database()"
        ).fetchone():
            connection.execute("SELECT pg_sleep(0.05)")
        return {name: tuple(numbers) for name, *numbers in connection.execute(COUNTERS)}


async def test_product_list_product_page_and_cart_read_no_row(urls: Urls, tmp_path: Path) -> None:
    gateway = GatewayProcess({**urls.environment(), **INTERNAL}, tmp_path)
    cart_id = f"user:{uuid4().hex}"
    gateway.start()
    try:
        async with catalogue_client_of(gateway, urls) as shop:
            await shop.cached_products.put(*(product(f"sku-{number}") for number in range(50)))
            for number in range(3):
                added = await shop.http.post(
                    f"/v1/carts/{cart_id}/items", json={"product_id": f"sku-{number}", "quantity": 1}
                )
                assert added.status_code == 200, added.text
            gateway.stop()
            before = counters(urls.postgres)
            assert {"carts", "products", "outbox"} <= before.keys()

            gateway.start()
            for turn in range(ROUNDS):
                for path in (
                    "/v1/products",
                    "/v1/products?q=sku&category=kitchen&limit=10",
                    f"/v1/products/sku-{turn % 50}",
                    f"/v1/carts/{cart_id}",
                ):
                    reply = await shop.http.get(path)
                    assert reply.status_code == 200, reply.text
            gateway.stop()
            assert counters(urls.postgres) == before

            # The counters would have seen it: a cart that Redis lacks is looked for in its row.
            gateway.start()
            await shop.carts.read(f"user:{uuid4().hex}")
            gateway.stop()
            after = counters(urls.postgres)
            assert [name for name in after if after[name] != before[name]] == [
                "carts",
                "carts_positions",
            ]
    finally:
        gateway.kill()
