/** Streams that are cut, whose gateway dies, whose tickets are used up. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { type CartEvent, CartClient } from "@cartstream/client";

import { add, control, GATEWAY, pieces, Proxy, shopper, shopping } from "./shop.js";

let proxy: Proxy;
before(async () => void (proxy = await Proxy.start()));
afterEach(() => void proxy.heads.splice(0));
after(() => proxy.stop());

type Events = AsyncGenerator<CartEvent, void, undefined>;

/** The next event of the kind; others are skipped. */
async function next<K extends CartEvent["kind"]>(events: Events, kind: K): Promise<CartEvent & { kind: K }> {
  for (;;) {
    const { value, done } = await events.next();
    assert.ok(!done, `the stream has ended before ${kind}`);
    if (value?.kind === kind) return value as CartEvent & { kind: K };
  }
}

/** The kinds of events until the cart has so many pieces. */
async function until(events: Events, quantity: number): Promise<string[]> {
  const kinds = [];
  for (;;) {
    const { value, done } = await events.next();
    assert.ok(!done && value, "the stream has ended");
    kinds.push(value.kind);
    if (value.kind === "cart" && pieces(value.cart) === quantity) return kinds;
  }
}

test("a stream shows the cart, and every change that others make", async () => {
  const { client, cartId } = shopping();
  const events = client.streamCart(cartId);
  assert.deepEqual(await until(events, 0), ["connected", "cart"]);
  await client.patchCart(cartId, [add(2)]);
  assert.deepEqual(await until(events, 2), ["cart"]);
  await events.return();
});

for (const tickets of [false, true]) {
  test(`a stream that is cut comes back and shows what it has missed (tickets: ${tickets})`, async () => {
    const { cartId, bearer } = shopper();
    const follower = new CartClient({ baseUrl: proxy.url, proofs: { bearer } });
    const writer = new CartClient({ baseUrl: GATEWAY, proofs: { bearer } });
    const events = follower.streamCart(cartId, { tickets });
    await until(events, 0);
    proxy.cutAll();
    await writer.patchCart(cartId, [add(3)]);
    assert.deepEqual(await until(events, 3), ["interrupted", "connected", "cart"]);
    const streams = proxy.heads.filter((head) => head.startsWith("GET"));
    assert.equal(streams.length, 2);
    assert.match(streams[1] ?? "", /^last-event-id: 0-0-000000000000/im);
    assert.equal(streams.every((head) => /^authorization/im.test(head)), !tickets);
    assert.equal(new Set(streams.map((head) => /ticket=(\S+)/.exec(head)?.[1])).size, tickets ? 2 : 1);
    await events.return();
  });
}

test("a cart that has not changed meanwhile is not shown again", async () => {
  const { client, cartId } = shopping({ baseUrl: proxy.url });
  await client.patchCart(cartId, [add(1)]);
  const events = client.streamCart(cartId);
  await until(events, 1);
  proxy.cutAll();
  await next(events, "connected");
  await client.patchCart(cartId, [add(1)]);
  assert.deepEqual(await until(events, 2), ["cart"]);
  await events.return();
});

test("a stream survives the kill -9 of its gateway", async () => {
  const { client, cartId } = shopping({ retries: { deadlineMs: 60_000, tries: 100 } });
  await client.patchCart(cartId, [add(1)]);
  const events = client.streamCart(cartId);
  await until(events, 1);
  await control("gateway/kill");
  assert.ok((await next(events, "interrupted")).error);
  const adding = client.patchCart(cartId, [add(1)]);
  await control("gateway/start");
  assert.equal(pieces((await adding).cart), 2);
  await until(events, 2);
  await events.return();
});

test("while Redis is frozen a stream says so, and then what the cart is", async () => {
  const { client, cartId } = shopping();
  await client.patchCart(cartId, [add(1)]);
  const events = client.streamCart(cartId);
  await until(events, 1);
  await control("redis/freeze");
  try {
    assert.equal((await next(events, "unavailable")).problem.type, "/problems/store-unavailable");
  } finally {
    await control("redis/thaw");
  }
  assert.equal(pieces((await next(events, "cart")).cart), 1);
  await events.return();
});

test("a stream that is silent for too long counts as cut", async () => {
  const { client, cartId } = shopping();
  const events = client.streamCart(cartId, { silenceMs: 500 });
  await next(events, "cart");
  const { error } = await next(events, "interrupted");
  assert.equal(error?.name, "TimeoutError");
  await next(events, "connected");
  await events.return();
});

test("a guest's stream ends when the cart is merged", async () => {
  const guest = await new CartClient({ baseUrl: GATEWAY }).mintCart({
    items: [{ product_id: "tea-bowl", quantity: 2 }],
  });
  const { client, cartId } = shopping();
  const owner = new CartClient({ baseUrl: GATEWAY, proofs: { bearer: guest.token } });
  const events = owner.streamCart(guest.cart_id);
  await until(events, 2);
  await client.mergeGuestCart(cartId, { guest: guest.token });
  const merged = await next(events, "merged");
  assert.equal(merged.cart.merged_into, cartId);
  assert.equal((await events.next()).done, true);
});

test("where coming back cannot help the problem is thrown", async () => {
  const { cartId } = shopper();
  const nobody = new CartClient({ baseUrl: GATEWAY }).streamCart(cartId);
  await assert.rejects(nobody.next(), { type: "/problems/unauthenticated" });
  const other = shopping().client.streamCart(cartId);
  await assert.rejects(other.next(), { type: "/problems/cart-not-found" });
});

test("a stream of a cart that has too many waits for its turn", async () => {
  const { client, cartId } = shopping();
  const streams = Array.from({ length: 10 }, () => client.streamCart(cartId));
  await Promise.all(streams.map((stream) => until(stream, 0)));
  const late = client.streamCart(cartId);
  const { error, pauseMs } = await next(late, "interrupted");
  assert.ok(error && "retryAfter" in error && error.retryAfter === 10 && pauseMs >= 10_000);
  await Promise.all([...streams, late].map((stream) => stream.return()));
});

test("an aborted stream throws the signal's reason, also during a pause", async () => {
  const { client, cartId } = shopping({ baseUrl: proxy.url });
  const open = new AbortController();
  const events = client.streamCart(cartId, { signal: open.signal });
  await until(events, 0);
  setTimeout(() => open.abort(new Error("the page is left")), 50);
  await assert.rejects(events.next(), /the page is left/);
  const paused = new AbortController();
  const others = client.streamCart(cartId, { signal: paused.signal });
  await until(others, 0);
  proxy.cutAll();
  await next(others, "interrupted");
  setTimeout(() => paused.abort(new Error("the page is left")), 50);
  await assert.rejects(others.next(), /the page is left/);
});
