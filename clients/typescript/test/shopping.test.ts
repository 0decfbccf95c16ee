/** What a shopper does, from a guest's first click to the order, each call with its types. */

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { CartClient, isOrder, type Product } from "@cartstream/client";

import { add, GATEWAY, pieces, shopping } from "./shop.js";

const anyone = new CartClient({ baseUrl: GATEWAY });
let products: Product[];
before(async () => void (products = (await anyone.listProducts({ limit: 5 })).products));

test("products are listed, searched and read", async () => {
  assert.equal(products.length, 5);
  const [cup] = (await anyone.listProducts({ q: "espresso cu" })).products;
  assert.equal(cup?.product_id, "espresso-cup");
  assert.equal((await anyone.readProduct("espresso-cup")).name, cup.name);
  await assert.rejects(anyone.readProduct("no-such-thing"), { type: "/problems/product-not-found" });
});

test("a guest fills a cart, renews the token, logs in and orders", async () => {
  const minted = await anyone.mintCart({ items: [{ product_id: "espresso-cup", quantity: 2 }] });
  const renewing = new CartClient({ baseUrl: GATEWAY, proofs: { bearer: minted.token } });
  const { token } = await renewing.renewToken(minted.cart_id);
  const guest = new CartClient({ baseUrl: GATEWAY, proofs: { cartToken: token } });
  await guest.patchDetails(minted.cart_id, { email: "ada@example.org", locale: "de-CH" });
  const { client, cartId } = shopping();
  await client.addItem(cartId, { product_id: "tea-bowl", quantity: 1 }, { durability: "postgres" });
  const merge = await client.mergeGuestCart(cartId, { guest: token, strategy: "sum" });
  assert.deepEqual([merge.status, merge.lines, merge.left], ["done", { done: 1, total: 1 }, []]);
  const { cart, etag } = await client.readCart(cartId);
  assert.equal(pieces(cart), 3);
  assert.equal(cart.details?.email, "ada@example.org");
  const order = await client.checkOut(cartId, { expected_total: cart.totals.total }, { ifMatch: etag });
  assert.ok(isOrder(order));
  assert.deepEqual([order.status, order.totals.total], ["placed", cart.totals.total]);
  assert.equal((await client.listOrders(cartId)).orders[0]?.order_id, order.order_id);
  assert.equal((await client.cancelOrder(order.order_id)).status, "cancelled");
  assert.equal((await client.readOrder(order.order_id)).status, "cancelled");
  await assert.rejects(guest.addItem(minted.cart_id, { product_id: "tea-bowl", quantity: 1 }), (error) => {
    assert.ok(error instanceof Error && "document" in error);
    assert.equal((error.document as Record<string, unknown>)["into"], cartId);
    return true;
  });
});

test("a checkout with its key is one order, however often it is sent", async () => {
  const { client, cartId } = shopping();
  await client.patchCart(cartId, [add(1)]);
  const idempotencyKey = "the-key-of-this-checkout";
  const orders = [];
  for (let time = 0; time < 2; time++) orders.push(await client.checkOut(cartId, {}, { idempotencyKey }));
  assert.deepEqual(orders[0], orders[1]);
});

test("lines are set, changed and removed, and carts cleared", async () => {
  const { client, cartId } = shopping();
  const { cart } = await client.patchCart(cartId, [
    add(1),
    { op: "add", product_id: "tea-bowl", quantity: 2, options: { engraving: "Ada" } },
    { op: "save", product_id: "travel-mug", quantity: 1 },
  ]);
  const [bowl, cup] = cart.lines.map((line) => line.line_id).sort((a, b) => b.localeCompare(a));
  assert.ok(bowl && cup);
  assert.equal(pieces((await client.putItem(cartId, cup, { quantity: 5, metadata: { gift: true } })).cart), 7);
  assert.equal(pieces((await client.patchItem(cartId, bowl, { quantity: 1 })).cart), 6);
  assert.equal(pieces((await client.removeItem(cartId, bowl)).cart), 5);
  const cleared = await client.clearCart(cartId);
  assert.deepEqual([cleared.cart.lines, cleared.cart.saved?.length], [[], 1]);
  assert.equal(cleared.durability, "kafka");
  assert.match(cleared.receipt ?? "", /^cart-changed\/\d+\/\d+$/);
});
