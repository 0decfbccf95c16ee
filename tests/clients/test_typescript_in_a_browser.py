"""The TypeScript client in a browser, on a page of another origin than the gateway's."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.demo.browser import MISSING, chromium, launched

pytestmark = pytest.mark.client

MODULES = {
    "@cartstream/client": "/dist/index.js",
    "openapi-fetch": "/node_modules/openapi-fetch/dist/index.mjs",
    "eventsource-parser": "/node_modules/eventsource-parser/dist/index.js",
}
PAGE = f'<script type="importmap">{json.dumps({"imports": MODULES})}</script>'
SHOPPING = """async (baseUrl) => {
  const { CartClient, ProblemError } = await import("@cartstream/client");
  const item = { product_id: "espresso-cup", quantity: 1 };
  const minted = await new CartClient({ baseUrl }).mintCart({ items: [item] });
  const client = new CartClient({ baseUrl, proofs: { bearer: minted.token } });
  const added = await client.addItem(minted.cart_id, item);
  const seen = [];
  for await (const event of client.streamCart(minted.cart_id)) {
    if (event.kind !== "cart") continue;
    seen.push(event.cart.lines[0].quantity);
    if (seen.length === 2) break;
    await client.updateCart(minted.cart_id, ({ lines: [line] }) => [
      { op: "set", line_id: line.line_id, quantity: line.quantity * 2 },
    ]);
  }
  const refused = await client.readCart("user:other").catch((error) => error);
  return [seen, /^"/.test(added.etag), added.durability, refused instanceof ProblemError && refused.type];
}"""


@pytest.fixture
def page(package: Path, shop_origin: str) -> Iterator[Page]:
    """A page of the shop that can import the package as it was built."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)

    class Shop(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    (package / "build" / "shop.html").write_text(PAGE)
    port = int(shop_origin.rpartition(":")[2])
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Shop, directory=str(package))) as server:
        threading.Thread(target=server.serve_forever, name="shop", daemon=True).start()
        with launched(path) as browser:
            page = browser.new_page()
            page.goto(f"{shop_origin}/build/shop.html")
            yield page
        server.shutdown()


def test_a_page_of_another_origin_changes_and_follows_a_cart(page: Page, shop: dict[str, str]) -> None:
    found = page.evaluate(SHOPPING, shop["CARTSTREAM_TEST_GATEWAY"])
    assert found == [[2, 4], True, "kafka", "/problems/cart-not-found"]
