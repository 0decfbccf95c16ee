/** What is decided without a gateway: how long to wait, what may be sent twice, what a stream asks for. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { CartClient, type CartEvent, DEFAULT_RETRIES, NoAnswerError, ProblemError } from "@cartstream/client";

import { GatewayClock, newKey } from "../dist/keys.js";
import { problemOf, secondsOf } from "../dist/problems.js";
import { mayPass, mayRepeat, pauseBefore } from "../dist/retries.js";
import { eventOf, pauseAfter } from "../dist/stream.js";

const LOST = new NoAnswerError(new TypeError("cut"), null);

function problem(status: number, retryAfter: number | null = null, type = "about:blank"): ProblemError {
  return new ProblemError({ type, title: "", detail: "", status }, new Headers(), retryAfter, null);
}

test("a key is a UUIDv7 with the gateway's time in it", () => {
  const clock = new GatewayClock();
  clock.learn(new Headers({ date: "Fri, 13 Feb 2009 23:31:30 GMT" }));
  const key = newKey(clock.now());
  assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const time = Number.parseInt(key.replaceAll("-", "").slice(0, 12), 16);
  assert.ok(Math.abs(time - 1_234_567_890_000) < 60_000);
  clock.learn(new Headers());
  assert.ok(clock.now() < 1_234_567_990_000);
  assert.notEqual(newKey(0), newKey(0));
});

test("Retry-After is a number of seconds or a date", () => {
  const now = Date.parse("Fri, 13 Feb 2009 23:31:30 GMT");
  const told = ["5", " 0 ", "Fri, 13 Feb 2009 23:31:40 GMT", "Fri, 13 Feb 2009 23:31:00 GMT", "soon", "-1", null];
  assert.deepEqual(told.map((text) => secondsOf(text, now)), [5, 0, 10, 0, null, null, null]);
});

test("pauses double up to the longest, each shortened by up to a half", () => {
  const pauses = [1, 2, 3, 20].map((tried) =>
    [0, 1].map((chance) => pauseBefore(LOST, { ...DEFAULT_RETRIES, tries: 99 }, tried, 0, chance)),
  );
  assert.deepEqual(pauses, [[200, 100], [400, 200], [800, 400], [5000, 2500]]);
});

test("the pause is never shorter than Retry-After, and none passes the deadline", () => {
  assert.equal(pauseBefore(problem(503, 7), DEFAULT_RETRIES, 1, 0, 0), 7000);
  assert.equal(pauseBefore(problem(503, 7), DEFAULT_RETRIES, 1, 0, 1), 7200);
  assert.equal(pauseBefore(problem(503, 7), DEFAULT_RETRIES, 1, 23_000, 0), null);
  assert.equal(pauseBefore(LOST, DEFAULT_RETRIES, 10, 0, 0), null);
  const patient = { ...DEFAULT_RETRIES, deadlineMs: 10_000_000 };
  assert.equal(pauseBefore(problem(503, 600), patient, 1, 0, 0), null);
});

test("what may pass is tried again, a refusal is not", () => {
  const passing = [408, 429, 500, 502, 503, 504];
  const statuses = [400, 401, 403, 404, 409, 412, 413, 422, 501, ...passing];
  assert.deepEqual(statuses.filter((status) => mayPass(problem(status), true)), passing);
  assert.ok(mayPass(LOST, false));
  const busy = problem(409, 1, "/problems/checkout-in-progress");
  assert.deepEqual([mayPass(busy, true), mayPass(busy, false)], [true, false]);
});

test("only what the gateway promises to know again is sent twice", () => {
  const told = [
    ["POST", "/v1/carts"],
    ["DELETE", "/shop/v1/carts/user%3A42/items/mug"],
    ["POST", "/v1/orders/o_1/cancel"],
    ["GET", "/v1/products"],
    ["PATCH", "/v1/products/mug"],
    ["POST", "/v1/products/import"],
    ["POST", "/v1/cartsandmore"],
  ] as const;
  const may = told.map(([method, path]) => mayRepeat(new Request(`http://shop.example${path}`, { method })));
  assert.deepEqual(may, [true, true, true, true, false, false, false]);
});

test("an error of a proxy is a problem, too", async () => {
  const page = new Response("<h1>Bad Gateway</h1>", { status: 502, statusText: "Bad Gateway" });
  const error = await problemOf(page, "key");
  assert.deepEqual(error.document, {
    type: "about:blank",
    title: "Bad Gateway",
    detail: "There is no problem document.",
    status: 502,
  });
  assert.match(error.message, /^502 Bad Gateway/);
});

test("events that are not known are passed over", () => {
  assert.equal(eventOf({ event: "sparkles", data: "{}", id: undefined }), null);
});

test("a stream comes back when the gateway says, later after each failure, never before Retry-After", () => {
  assert.equal(pauseAfter(null, 1500, 0, 0.5), 1500);
  assert.deepEqual([1, 2, 3, 9].map((failures) => pauseAfter(LOST, 1000, failures, 0)), [1000, 2000, 4000, 30_000]);
  assert.equal(pauseAfter(problem(503, 5), 1000, 1, 0), 6000);
});

/** A gateway that answers each request for a stream with the next of these texts. */
function streaming(...texts: string[]): { client: CartClient; asked: (string | null)[] } {
  const asked: (string | null)[] = [];
  const fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    asked.push(new Request(input, init).headers.get("last-event-id"));
    return new Response(`retry: 1\n\n${texts.shift() ?? ""}`);
  };
  return { client: new CartClient({ baseUrl: "http://shop.example", fetch }), asked };
}

async function first(count: number, events: AsyncGenerator<CartEvent, void>): Promise<string[]> {
  const kinds: string[] = [];
  for await (const event of events) if (kinds.push(event.kind) === count) break;
  return kinds;
}

test("a stream comes back with the version that it has shown", async () => {
  const { client, asked } = streaming("id: 7-1-a.b\nevent: cart\ndata: {}\n\n");
  assert.deepEqual(await first(4, client.streamCart("me", { version: "6-1-c" })), [
    "connected",
    "cart",
    "interrupted",
    "connected",
  ]);
  assert.deepEqual(asked, ["6-1-c", "7-1-a.b"]);
});

for (const doubt of ["stale", "unavailable"]) {
  test(`after ${doubt} a stream asks for the whole cart, or the doubt would never end`, async () => {
    const shown = "id: 7-1-a\nevent: cart\ndata: {}\n\n";
    const { client, asked } = streaming(`${shown}event: ${doubt}\ndata: {}\n\n`, shown);
    assert.deepEqual((await first(6, client.streamCart("me"))).slice(3), ["interrupted", "connected", "cart"]);
    assert.deepEqual(asked, [null, null]);
  });
}

test("a merged cart ends its stream", async () => {
  const { client } = streaming("id: 7-1-a\nevent: merged\ndata: {}\n\n");
  assert.deepEqual(await first(9, client.streamCart("me")), ["connected", "merged"]);
});

test("a stream that is silent for too long counts as cut, also once memory was collected", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const server = createServer((_, reply) => reply.write("id: 7-1-a\nevent: cart\ndata: {}\n\n"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = new CartClient({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  const collecting = setInterval(collect, 20);
  try {
    const kinds: string[] = [];
    for await (const event of client.streamCart("me", { silenceMs: 300 })) {
      kinds.push(event.kind);
      if (event.kind === "interrupted" && kinds.includes("cart")) break;
    }
    // A slow machine may take longer than that to connect.
    assert.deepEqual(kinds.slice(kinds.indexOf("connected")), ["connected", "cart", "interrupted"]);
  } finally {
    clearInterval(collecting);
    server.closeAllConnections();
    server.close();
  }
});
