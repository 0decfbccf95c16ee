/** What a call throws: a refusal of the gateway, or that no answer came. */

import type { components } from "./schema.js";

type Described = components["schemas"]["Problem"];

/**
 * A problem document (RFC 9457), with the members of its own type, such as `available` or `into`. `type` may be
 * one that this version does not know, and of a proxy's error it is `about:blank`.
 */
export type Problem = Omit<Described, "type"> & { type: Described["type"] | (string & {}) } & Readonly<
    Record<string, unknown>
  >;

/** The gateway, or a proxy in front of it, has answered with an error. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";

  /**
   * `document`: what was answered. `retryAfter`: seconds to wait before it is worth another try, null if none
   * were named. `idempotencyKey`: of the change; with the same one it can be sent again and is applied once.
   */
  constructor(
    readonly document: Problem,
    readonly headers: Headers,
    readonly retryAfter: number | null,
    readonly idempotencyKey: string | null,
  ) {
    super(`${document.status} ${document.title}: ${document.detail}`);
  }

  /** What kind of problem it is, such as `/problems/short-stock`; it never changes. */
  get type(): Problem["type"] {
    return this.document.type;
  }

  get status(): number {
    return this.document.status;
  }
}

/**
 * No whole answer came, after all tries; `cause` is what the last one died of. A change may have been made or
 * not: send it again with the same `idempotencyKey`, within ten minutes, or read the cart.
 */
export class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";

  constructor(
    cause: unknown,
    readonly idempotencyKey: string | null,
  ) {
    super(`The gateway does not answer: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** The error that a reply with an error status is. Reads its body; a proxy's page becomes a problem, too. */
export async function problemOf(reply: Response, idempotencyKey: string | null): Promise<ProblemError> {
  const text = await reply.text();
  const retryAfter = secondsOf(reply.headers.get("retry-after"), Date.now());
  return new ProblemError(documentOf(text, reply), reply.headers, retryAfter, idempotencyKey);
}

/** The seconds of a Retry-After (RFC 9110: a number, or a date); null if there are none. */
export function secondsOf(retryAfter: string | null, nowMs: number): number | null {
  if (retryAfter === null) return null;
  if (/^\s*\d+\s*$/.test(retryAfter)) return Number(retryAfter);
  const until = /GMT\s*$/.test(retryAfter) ? Date.parse(retryAfter) : Number.NaN;
  return Number.isNaN(until) ? null : Math.max(0, (until - nowMs) / 1000);
}

function documentOf(text: string, reply: Response): Problem {
  const found = jsonOf(text);
  const title = reply.statusText || "Error";
  return { type: "about:blank", title, detail: "There is no problem document.", ...found, status: reply.status };
}

function jsonOf(text: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null ? { ...found } : {};
  } catch {
    return {};
  }
}
