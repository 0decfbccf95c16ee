// Requests to the gateway. A change keeps its Idempotency-Key over its retries, so it is never applied twice.

const TRIES = 12;
const RETRIED = new Set([429, 500, 502, 503, 504]);

/** A UUIDv7 (RFC 9562): it says when the first attempt was. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let now = Date.now();
  for (let index = 5; index >= 0; index--) {
    bytes[index] = now % 256;
    now = Math.floor(now / 256);
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export const cartPath = (cartId) => `/v1/carts/${encodeURIComponent(cartId)}`;

/** Waits; resolves after so many milliseconds. */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Sends one request; with a `key` it is sent again, with the same key, while it fails for a reason that passes.
 * Returns {status, ok, body, headers, milliseconds, attempts}; status 0: no answer at all.
 */
export async function send(method, path, { body, key, ifMatch, ifNoneMatch } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (ifMatch) headers["If-Match"] = ifMatch;
  if (ifNoneMatch) headers["If-None-Match"] = ifNoneMatch;
  const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const began = performance.now();
  for (let attempts = 1; ; attempts++) {
    const reply = await once(path, request);
    const passes = reply.status === 0 || RETRIED.has(reply.status);
    if (!key || !passes || attempts === TRIES) {
      return { ...reply, attempts, milliseconds: Math.round(performance.now() - began) };
    }
    await pause(Math.min(200 * attempts, 1000));
  }
}

async function once(path, request) {
  try {
    const reply = await fetch(path, request);
    const isJson = /json/.test(reply.headers.get("content-type") ?? "");
    const body = isJson ? await reply.json() : null;
    return { status: reply.status, ok: reply.ok, body, headers: reply.headers };
  } catch {
    return { status: 0, ok: false, body: null, headers: new Headers() };
  }
}

/** What a refusal says to the shopper. */
export const reason = (reply) =>
  reply.status === 0 ? "The gateway does not answer." : reply.body?.detail ?? `The gateway answered ${reply.status}.`;
