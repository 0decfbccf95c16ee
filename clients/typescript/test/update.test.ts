/** Edits of carts that others change, too. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { CartClient, type Edit } from "@cartstream/client";

import { add, GATEWAY, pieces, Proxy, shopper, shopping } from "./shop.js";

let proxy: Proxy;
before(async () => void (proxy = await Proxy.start()));
after(() => proxy.stop());

/** Double what is in the cart: it depends on every change before it. */
const double: Edit = (cart) =>
  cart.lines.map((line) => ({ op: "set", line_id: line.line_id, quantity: line.quantity * 2 }));

test("an edit is applied again to the cart that another one has changed meanwhile", async () => {
  const { client, cartId } = shopping();
  await client.patchCart(cartId, [add(1)]);
  const seen: number[] = [];
  const { cart } = await client.updateCart(cartId, async (found) => {
    seen.push(pieces(found));
    if (seen.length === 1) await client.patchCart(cartId, [add(2)]);
    return double(found);
  });
  assert.deepEqual(seen, [1, 3]);
  assert.equal(pieces(cart), 6);
});

test("two writers who double the cart at the same time both do", async () => {
  const { cartId, bearer } = shopper();
  const [one, other] = [1, 2].map(() => new CartClient({ baseUrl: GATEWAY, proofs: { bearer } }));
  assert.ok(one && other);
  await one.patchCart(cartId, [add(1)]);
  await Promise.all([1, 2, 3].flatMap(() => [one.updateCart(cartId, double), other.updateCart(cartId, double)]));
  assert.equal(pieces((await one.readCart(cartId)).cart), 64);
});

test("an edit whose reply is cut is made once", async () => {
  const { client, cartId } = shopping({ baseUrl: proxy.url });
  await client.patchCart(cartId, [add(1)]);
  const { cart, isReplayed } = await client.updateCart(cartId, (found) => {
    proxy.cutNextReply();
    return double(found);
  });
  assert.equal(isReplayed, true);
  assert.equal(pieces(cart), 2);
});

test("an edit that has nothing to do changes nothing", async () => {
  const { client, cartId } = shopping();
  const before = await client.patchCart(cartId, [add(1)]);
  for (const nothing of [null, []]) {
    const { cart } = await client.updateCart(cartId, () => nothing);
    assert.equal(cart.version, before.cart.version);
  }
  assert.equal((await client.readCart(cartId)).cart.version, before.cart.version);
});

test("an edit of a cart that never holds still ends with the conflict", async () => {
  const { client, cartId } = shopping();
  let edits = 0;
  const update = client.updateCart(cartId, async (cart) => {
    edits += 1;
    await client.patchCart(cartId, [add(1)]);
    return [{ op: "metadata", metadata: { pieces: pieces(cart) } }];
  });
  await assert.rejects(update, { type: "/problems/precondition-failed", status: 412 });
  assert.equal(edits, 8);
});

test("what an edit throws is thrown, and so is a refusal", async () => {
  const { client, cartId } = shopping();
  const failing = client.updateCart(cartId, () => {
    throw new RangeError("too dear");
  });
  await assert.rejects(failing, /too dear/);
  await assert.rejects(client.updateCart(cartId, () => [add(1000)]), { type: "/problems/invalid-body" });
});
