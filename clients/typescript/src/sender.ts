/** Sends requests: proves who calls, keeps the Idempotency-Key over all tries, and gives up in time. */

import { type GatewayClock, newKey } from "./keys.js";
import { NoAnswerError, ProblemError, problemOf } from "./problems.js";
import { isChange, mayPass, mayRepeat, pauseBefore, type RetryPolicy } from "./retries.js";
import { limited, pause, unlessAborted } from "./waiting.js";

/** What proves who calls. A shop's own session cookie needs none of it. */
export interface Proof {
  /** A shopper's or service's JWT, or a guest token. */
  bearer?: string | undefined;
  /** A guest token beside a shopper's JWT: the guest cart is the shopper's, too. */
  cartToken?: string | undefined;
  /** The id of a monolith's session. */
  session?: string | undefined;
  /** Whom a service acts for. */
  actingFor?: string | undefined;
}

/** A proof, or what gives one: it is asked before every try, so it can renew what is about to expire. */
export type Proofs = Proof | (() => Proof | Promise<Proof>);

export class Sender {
  constructor(
    private readonly fetch: typeof globalThis.fetch,
    private readonly proofs: Proofs,
    private readonly policy: RetryPolicy,
    private readonly clock: GatewayClock,
  ) {}

  /** A new Idempotency-Key. */
  newKey(): string {
    return newKey(this.clock.now());
  }

  /**
   * The reply, whole and not an error; requests that may be repeated are tried until the policy says no.
   * Throws ProblemError, NoAnswerError, and the reason of the request's signal.
   */
  async send(request: Request): Promise<Response> {
    if (!mayRepeat(request)) return this.once(request);
    const chosen = request.headers.get("idempotency-key");
    let key = chosen ?? (isChange(request) ? this.newKey() : null);
    let mayBeDone = false;
    let isKeyRenewed = false;
    const began = performance.now();
    for (let tried = 1; ; tried++) {
      const failure = await this.#try(request, key, this.policy.deadlineMs - (performance.now() - began));
      if (failure instanceof Response) return failure;
      if (isTooOld(failure) && chosen === null && !mayBeDone && !isKeyRenewed) {
        // The first try of all came too late: this machine's clock is wrong. By now the gateway's is known.
        key = this.newKey();
        isKeyRenewed = true;
        continue;
      }
      const wait = pauseBefore(failure, this.policy, tried, performance.now() - began, Math.random());
      if (wait === null || !mayPass(failure, mayBeDone)) throw failure;
      mayBeDone ||= failure instanceof NoAnswerError || failure.status >= 500;
      await pause(wait, request.signal);
    }
  }

  /** The reply to one try, its body not read yet. Throws as `send`. `isProved`: with the proof of who calls. */
  async once(request: Request, key: string | null = null, isProved = true): Promise<Response> {
    const headers = new Headers(request.headers);
    if (key !== null) headers.set("idempotency-key", key);
    if (isProved) prove(headers, typeof this.proofs === "function" ? await this.proofs() : this.proofs);
    const { fetch } = this; // a browser's own refuses to be called as somebody's method
    let reply: Response;
    try {
      reply = await fetch(request, { headers });
    } catch (error) {
      request.signal.throwIfAborted();
      throw new NoAnswerError(error, key);
    }
    this.clock.learn(reply.headers);
    if (reply.status >= 400) throw await problemOf(reply, key);
    return reply;
  }

  /** A whole reply, or why there is none. Throws the reason of the request's signal, and errors of proofs. */
  async #try(
    request: Request,
    key: string | null,
    leftMs: number,
  ): Promise<Response | ProblemError | NoAnswerError> {
    const limit = limited(request.signal, Math.min(this.policy.tryMs, Math.max(1, leftMs)));
    try {
      const tried = new Request(request.clone(), { signal: limit.signal });
      return await unlessAborted(limit.signal, this.once(tried, key).then(whole));
    } catch (error) {
      request.signal.throwIfAborted();
      if (error instanceof ProblemError || error instanceof NoAnswerError) return error;
      if (limit.signal.aborted || error instanceof TypeError) return new NoAnswerError(error, key);
      throw error;
    } finally {
      limit.release();
    }
  }
}

/** The reply once its body is here: the connection may be cut within it, and only a whole one is an answer. */
async function whole(reply: Response): Promise<Response> {
  const { status, statusText, headers } = reply;
  const isEmpty = reply.body === null || status === 204 || status === 304;
  return new Response(isEmpty ? null : await reply.arrayBuffer(), { status, statusText, headers });
}

const isTooOld = (failure: Error): boolean =>
  failure instanceof ProblemError && failure.type === "/problems/request-too-old";

function prove(headers: Headers, proof: Proof): void {
  if (proof.bearer !== undefined) headers.set("authorization", `Bearer ${proof.bearer}`);
  if (proof.cartToken !== undefined) headers.set("cart-token", proof.cartToken);
  if (proof.session !== undefined) headers.set("cart-session", proof.session);
  if (proof.actingFor !== undefined) headers.set("acting-for", proof.actingFor);
}
