// The products of the shop page, as the gateway finds them.

import { send } from "/demo/api.js";

const PAGE = 100;
const NO_CATALOGUE = 404;

/** Products by id, of every list that was seen: without a catalogue in Redis a cart's lines have no names. */
export const known = new Map();

/**
 * {products, hasCatalogue}: those that have all words of `q` and are of `category`, none where the gateway has no
 * catalogue. Null while the catalogue is being restored.
 */
export async function find(q = "", category = "") {
  const found = [];
  let cursor = null;
  do {
    const parameters = new URLSearchParams({ limit: PAGE });
    if (q) parameters.set("q", q);
    if (category) parameters.set("category", category);
    if (cursor) parameters.set("cursor", cursor);
    const { ok, status, body } = await send("GET", `/v1/products?${parameters}`);
    if (status === NO_CATALOGUE) return { products: [], hasCatalogue: false };
    if (!ok) return null;
    found.push(...body.products);
    cursor = body.next_cursor;
  } while (cursor);
  for (const product of found) known.set(product.product_id, product);
  return { products: found, hasCatalogue: true };
}

/** What to show of a cart's line: what it says itself, else what is known of its product. */
export function described(line) {
  const product = known.get(line.product_id) ?? {};
  return {
    product_id: line.product_id,
    name: line.name ?? product.name ?? line.product_id,
    category: product.category,
    image_url: line.image_url ?? product.image_url,
    total: line.line_total,
  };
}
