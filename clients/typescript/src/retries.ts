/** Decides which requests are sent again, and when. Pure. */

import { NoAnswerError, ProblemError } from "./problems.js";

/** How long and how often a call is tried. */
export interface RetryPolicy {
  /** Milliseconds for all tries and the pauses between them. */
  deadlineMs: number;
  /** How many tries there are at most. */
  tries: number;
  /** Milliseconds after which a try without an answer is given up. */
  tryMs: number;
  /** The first pause; each further one is twice as long, and each is shortened at random by up to a half. */
  firstPauseMs: number;
  /** The longest pause, unless the gateway asks for a longer one. */
  longestPauseMs: number;
}

export const DEFAULT_RETRIES: RetryPolicy = {
  deadlineMs: 30_000,
  tries: 10,
  tryMs: 10_000,
  firstPauseMs: 200,
  longestPauseMs: 5_000,
};

/** The gateway knows a key for ten minutes. */
export const LONGEST_DEADLINE_MS = 540_000;

const CHANGES = new Set(["POST", "PUT", "PATCH", "DELETE"]);
const REPEATABLE = /\/v1\/(carts|orders|merges|unsubscribe)(\/|$)/;
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/** Whether the request changes something, so that it needs a key to be sent twice. */
export const isChange = (request: Request): boolean => CHANGES.has(request.method);

/** Whether the gateway promises that the request may come twice: reads, and changes of carts and orders. */
export function mayRepeat(request: Request): boolean {
  return !isChange(request) || REPEATABLE.test(new URL(request.url).pathname);
}

/** Whether the failure may pass. `mayBeDone`: an earlier try of the request has got no answer. */
export function mayPass(failure: ProblemError | NoAnswerError, mayBeDone: boolean): boolean {
  if (failure instanceof NoAnswerError || PASSING.has(failure.status)) return true;
  // The checkout under way is most likely the earlier try: with the same key this one is answered its order.
  return mayBeDone && failure.type === "/problems/checkout-in-progress";
}

/**
 * Milliseconds until the next try, null if there is none. `tried`: tries so far; `spentMs`: time since the
 * first one; `chance`: a random number from 0 to 1.
 */
export function pauseBefore(
  failure: ProblemError | NoAnswerError,
  policy: RetryPolicy,
  tried: number,
  spentMs: number,
  chance: number,
): number | null {
  const asked = failure instanceof ProblemError ? (failure.retryAfter ?? 0) * 1000 : 0;
  const pause = growing(policy.firstPauseMs, policy.longestPauseMs, tried, chance);
  // Who was told to wait comes a bit later than told, and not at the same moment as all others.
  const wait = asked > 0 ? asked + chance * policy.firstPauseMs : pause;
  const isOver = tried >= policy.tries || spentMs + wait >= Math.min(policy.deadlineMs, LONGEST_DEADLINE_MS);
  return isOver ? null : wait;
}

/** A pause that doubles with each failure, up to `longestMs`, shortened at random by up to a half. */
export function growing(firstMs: number, longestMs: number, failures: number, chance: number): number {
  return Math.min(longestMs, firstMs * 2 ** (failures - 1)) * (1 - chance / 2);
}
