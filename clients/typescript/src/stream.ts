/** Follows a cart by its stream, and comes back whenever it is cut, with the version that is known. */

import { createParser, type EventSourceMessage } from "eventsource-parser";

import { NoAnswerError, type Problem, ProblemError } from "./problems.js";
import { growing } from "./retries.js";
import type { Cart } from "./types.js";
import { type Limit, limited, pause, unlessAborted } from "./waiting.js";

/** What happens to a cart that is followed. Each cart is whole, so a missed event does no harm. */
export type CartEvent =
  /** The cart is like this now. */
  | { kind: "cart"; cart: Cart; version: string }
  /** The cart has become part of `cart.merged_into`. It is the last event: follow that one. */
  | { kind: "merged"; cart: Cart; version: string }
  /** A copy that may be outdated. The next `cart` is current again. */
  | { kind: "stale"; cart: Cart }
  /** What the cart is now is not known. The next `cart` is current again. */
  | { kind: "unavailable"; problem: Problem }
  /** The stream is open; what was shown last is current unless an event follows. */
  | { kind: "connected" }
  /** The stream has ended, without `error` as planned. It comes back by itself after `pauseMs`. */
  | { kind: "interrupted"; error: Error | null; pauseMs: number };

export interface FollowOptions {
  /** Ends the iteration: it throws the signal's reason. */
  signal?: AbortSignal;
  /** The version that is shown already: the first event is then a newer one. */
  version?: string;
  /** Prove who calls with a ticket for each connection, where a proxy lets no headers through. */
  tickets?: boolean;
  /** Milliseconds without a sign of life (the gateway gives one every 15 s) until the stream counts as cut. */
  silenceMs?: number;
}

/** Opens the stream at a version. Throws ProblemError, NoAnswerError. */
export type Open = (version: string | null, signal: AbortSignal) => Promise<Response>;

const SILENCE_MS = 45_000;
const LONGEST_PAUSE_MS = 30_000;
const PAUSE_MS = 2_000;

/** The cart's events, until it has been merged. Throws ProblemError when coming back cannot help. */
export async function* follow(open: Open, options: FollowOptions): AsyncGenerator<CartEvent, void, undefined> {
  let version = options.version ?? null;
  let pauseMs = PAUSE_MS;
  let failures = 0;
  for (;;) {
    const limit = limited(options.signal, options.silenceMs ?? SILENCE_MS);
    let error: Error | null = null;
    try {
      const reply = await unlessAborted(limit.signal, open(version, limit.signal));
      yield { kind: "connected" };
      for await (const message of messages(reply, limit)) {
        failures = 0;
        if (typeof message === "number") {
          pauseMs = message;
          continue;
        }
        const event = eventOf(message);
        if (event === null) continue;
        // After a doubt the gateway would not repeat a version that is known, so the doubt would never end.
        version = "version" in event ? event.version : null;
        yield event;
        if (event.kind === "merged") return;
      }
    } catch (caught) {
      options.signal?.throwIfAborted();
      if (!isInterruption(caught, limit)) throw caught;
      error = caught as Error;
      failures += 1;
    } finally {
      limit.release();
    }
    const wait = pauseAfter(error, pauseMs, failures, Math.random());
    yield { kind: "interrupted", error, pauseMs: wait };
    await pause(wait, options.signal);
  }
}

/** Milliseconds until the stream is opened again. The gateway ends streams as planned, and says when to come. */
export function pauseAfter(error: Error | null, pauseMs: number, failures: number, chance: number): number {
  if (error === null) return pauseMs;
  const asked = error instanceof ProblemError ? (error.retryAfter ?? 0) * 1000 : 0;
  return asked + growing(pauseMs, LONGEST_PAUSE_MS, Math.max(1, failures), chance);
}

/** What a message says; null for an event that this version does not know. */
export function eventOf(message: EventSourceMessage): CartEvent | null {
  const said: unknown = JSON.parse(message.data);
  const version = message.id ?? "";
  switch (message.event) {
    case "cart":
    case "merged":
      return { kind: message.event, cart: said as Cart, version };
    case "stale":
      return { kind: "stale", cart: said as Cart };
    case "unavailable":
      return { kind: "unavailable", problem: said as Problem };
    default:
      return null;
  }
}

/** Messages as they come, and numbers: the milliseconds after which to come back. */
async function* messages(reply: Response, limit: Limit): AsyncGenerator<EventSourceMessage | number> {
  if (reply.body === null) return;
  const found: (EventSourceMessage | number)[] = [];
  const add = (item: EventSourceMessage | number): void => void found.push(item);
  const parser = createParser({ onEvent: add, onRetry: add });
  const decoder = new TextDecoder();
  const reader = reply.body.getReader();
  limit.signal.addEventListener("abort", () => void reader.cancel().catch(() => undefined), { once: true });
  for (;;) {
    const { done, value } = await unlessAborted(limit.signal, reader.read());
    if (done) return;
    limit.renew();
    parser.feed(decoder.decode(value, { stream: true }));
    yield* found.splice(0);
  }
}

/** Whether coming back may help: the connection is gone, or the gateway has no room or no answer for now. */
function isInterruption(error: unknown, limit: Limit): boolean {
  if (error instanceof ProblemError) return error.status >= 500 || error.status === 429 || error.status === 408;
  return error instanceof NoAnswerError || error instanceof TypeError || limit.signal.aborted;
}
