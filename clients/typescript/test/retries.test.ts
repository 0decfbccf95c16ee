/** Calls over a bad line: nothing is lost, nothing happens twice, and no call lasts for ever. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { CartClient, NoAnswerError, ProblemError } from "@cartstream/client";

import { add, control, GATEWAY, pieces, Proxy, shopper, shopping } from "./shop.js";

let proxy: Proxy;
before(async () => void (proxy = await Proxy.start()));
afterEach(() => void proxy.heads.splice(0));
after(() => proxy.stop());

const through = (): { baseUrl: string } => ({ baseUrl: proxy.url });
const ITEM = { product_id: "espresso-cup", quantity: 1 };

for (const bytes of [0, 20, 400]) {
  test(`an add whose reply is cut after ${bytes} bytes is made once`, async () => {
    const { client, cartId } = shopping(through());
    proxy.cutNextReply(bytes);
    const added = await client.addItem(cartId, ITEM);
    assert.equal(pieces(added.cart), 1);
    assert.equal(added.isReplayed, true);
    assert.equal(pieces((await client.readCart(cartId)).cart), 1);
    assert.equal(proxy.keys.length, 2);
    assert.equal(new Set(proxy.keys).size, 1);
  });
}

test("a change at a version is no conflict with itself when its reply is cut", async () => {
  const { client, cartId } = shopping(through());
  const { etag } = await client.addItem(cartId, ITEM);
  proxy.cutNextReply();
  const added = await client.addItem(cartId, ITEM, { ifMatch: etag });
  assert.equal(added.isReplayed, true);
  assert.equal(pieces(added.cart), 2);
});

test("a mint whose reply is cut gives the same cart", async () => {
  proxy.cutNextReply();
  const minted = await new CartClient(through()).mintCart({ items: [ITEM] });
  assert.equal(new Set(proxy.keys).size, 1);
  const owner = new CartClient({ ...through(), proofs: { bearer: minted.token } });
  assert.equal(pieces((await owner.readCart(minted.cart_id)).cart), 1);
});

test("a try without an answer is given up, and made again with its key", async () => {
  const { client, cartId } = shopping({ ...through(), retries: { tryMs: 1000 } });
  await client.readCart(cartId);
  proxy.swallowNextReply();
  const added = await client.addItem(cartId, ITEM);
  assert.equal(pieces(added.cart), 1);
  assert.equal(new Set(proxy.keys).size, 1);
});

for (const status of ["503 Service Unavailable", "429 Too Many Requests"]) {
  test(`${status} is tried again after Retry-After, not before`, async () => {
    const { client, cartId } = shopping({ ...through(), retries: { firstPauseMs: 1 } });
    proxy.answerNext(status, { "retry-after": "1" });
    const began = performance.now();
    const added = await client.addItem(cartId, ITEM);
    assert.ok(performance.now() - began >= 1000);
    assert.equal(pieces(added.cart), 1);
    assert.equal(new Set(proxy.keys).size, 1);
  });
}

test("a Retry-After beyond the deadline is the caller's to wait for", async () => {
  const { client, cartId } = shopping(through());
  proxy.answerNext("503 Service Unavailable", { "retry-after": "120" });
  await assert.rejects(client.addItem(cartId, ITEM), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.retryAfter, error.type], [503, 120, "about:blank"]);
    assert.equal(error.idempotencyKey, proxy.keys[0]);
    return true;
  });
  assert.equal(proxy.heads.length, 1);
});

test("while Redis is frozen an add waits, and is made once when it is back", async () => {
  const { client, cartId } = shopping({ retries: { deadlineMs: 60_000, tries: 100 } });
  await client.addItem(cartId, ITEM);
  await control("redis/freeze");
  const problems: unknown[] = [];
  try {
    const hasty = shopping({ retries: { tries: 1 } });
    await hasty.client.addItem(hasty.cartId, ITEM).catch((error: unknown) => problems.push(error));
  } finally {
    const adding = client.addItem(cartId, ITEM);
    await control("redis/thaw");
    assert.equal(pieces((await adding).cart), 2);
  }
  const [problem] = problems;
  assert.ok(problem instanceof ProblemError);
  assert.equal(problem.status, 503);
  assert.ok((problem.retryAfter ?? 0) > 0);
});

test("without a gateway a call ends with the key that goes on with it", async () => {
  const { client, cartId } = shopping({ ...through(), retries: { tries: 2, firstPauseMs: 1 } });
  proxy.cutNextReply();
  proxy.cutNextReply();
  const failed = await client.addItem(cartId, ITEM).catch((error: unknown) => error);
  assert.ok(failed instanceof NoAnswerError);
  assert.equal(failed.idempotencyKey, proxy.keys[0]);
  const again = await client.addItem(cartId, ITEM, { idempotencyKey: failed.idempotencyKey ?? "" });
  assert.equal(again.isReplayed, true);
  assert.equal(pieces(again.cart), 1);
});

test("a call that is aborted ends at once, during a try and between two", async () => {
  const { client, cartId } = shopping(through());
  proxy.swallowNextReply();
  const during = new AbortController();
  const first = client.readCart(cartId, { signal: during.signal });
  during.abort(new Error("the page is left"));
  await assert.rejects(first, /the page is left/);
  await proxy.stop();
  proxy = await Proxy.start();
  const other = shopping(through());
  proxy.answerNext("503 Service Unavailable", { "retry-after": "25" });
  const between = new AbortController();
  const second = other.client.addItem(other.cartId, ITEM, { signal: between.signal });
  setTimeout(() => between.abort(new Error("the page is left")), 100);
  await assert.rejects(second, /the page is left/);
  assert.equal(proxy.heads.length, 1);
});

for (const hours of [-2, 2]) {
  test(`a shopper whose clock is ${hours} h off can buy`, async (context) => {
    const { client, cartId } = shopping();
    const now = Date.now;
    context.mock.method(Date, "now", () => now() + hours * 3_600_000);
    assert.equal(pieces((await client.addItem(cartId, ITEM)).cart), 1);
    assert.equal(pieces((await client.addItem(cartId, ITEM)).cart), 2);
  });
}

test("a refusal is a problem with its type and its members, and is not tried again", async () => {
  const { client, cartId } = shopping(through());
  await assert.rejects(client.addItem(cartId, { product_id: "espresso-cup", quantity: 999 }), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.type, error.status], ["/problems/short-stock", 409]);
    assert.equal(typeof error.document["available"], "number");
    assert.equal(error.retryAfter, null);
    return true;
  });
  const nobody = new CartClient(through());
  await assert.rejects(nobody.readCart(cartId), { type: "/problems/unauthenticated", status: 401 });
  await assert.rejects(nobody.api.GET("/v1/orders/{order_id}", { params: { path: { order_id: "o_x" } } }), {
    name: "ProblemError",
  });
  assert.equal(proxy.heads.length, 3);
});

test("a proof is asked for before every try", async () => {
  const { cartId, bearer } = shopper();
  let asked = 0;
  const proofs = (): { bearer: string } => ({ bearer: asked++ ? bearer : "expired" });
  const client = new CartClient({ baseUrl: GATEWAY, proofs });
  await assert.rejects(client.readCart(cartId), { status: 401 });
  assert.equal(pieces((await client.patchCart(cartId, [add(2)])).cart), 2);
});
