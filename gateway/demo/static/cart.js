// One cart as one device sees it: read, changed, followed. Says "changed" when there is something new to show.

import { cartPath, newKey, pause, send } from "/demo/api.js";

const DECISIONS = 4;
const POLL_MS = 1000;
const NEVER_WRITTEN = "0-0-000000000000";

export const emptyCart = (cartId) => ({
  cart_id: cartId,
  version: NEVER_WRITTEN,
  currency: null,
  lines: [],
  warnings: [],
  adjustments: [],
  totals: { subtotal: 0, discount: 0, tax: 0, total: 0 },
});

export const pieces = (cart) => cart.lines.reduce((sum, line) => sum + line.quantity, 0);

const orderOf = (cart) => BigInt(cart.version.split("-")[0]);

export class Cart extends EventTarget {
  /** `isStale`: Redis may know better than the document. `followedBy`: "stream", "polling" or null. */
  constructor(id) {
    super();
    this.id = id;
    this.document = emptyCart(id);
    this.isStale = false;
    this.followedBy = null;
    this.arrivals = 0;
    this.tag = null;
    this.closed = new AbortController();
  }

  get isOpen() {
    return !this.closed.signal.aborted;
  }

  /** Reads the cart; returns the reply. 304 and failures change nothing. */
  async read() {
    const arrivals = this.arrivals;
    const reply = await send("GET", cartPath(this.id), { ifNoneMatch: this.tag });
    if (reply.status === 304) {
      this.#arrived(this.document, { isStale: false, tag: this.tag, arrivals });
    } else if (reply.ok) {
      const isStale = reply.headers.get("cart-freshness") === "stale";
      this.#arrived(reply.body, { isStale, tag: isStale ? null : reply.headers.get("etag"), arrivals });
    }
    return reply;
  }

  /**
   * Changes the cart. `decide` gets the cart and returns {method, path, body}, or null if there is nothing to do.
   * If-Match ties each decision to the version that was decided on; at 412 the cart is read and decided again.
   * Returns the last reply, with the number of `decisions`; null if nothing had to be done.
   */
  async change(decide) {
    for (let decisions = 1; ; decisions++) {
      const decided = decide(this.document);
      if (decided === null) return null;
      const arrivals = this.arrivals;
      const reply = await send(decided.method, cartPath(this.id) + decided.path, {
        body: decided.body,
        key: newKey(),
        ifMatch: `"${this.document.version}"`,
      });
      if (reply.ok) {
        this.#arrived(reply.body, { isStale: false, tag: null, arrivals });
        this.read(); // a reply to a change has no warnings
        return { ...reply, decisions };
      }
      if (reply.status !== 412 || decisions === DECISIONS) return { ...reply, decisions };
      await this.read();
    }
  }

  /** Follows the cart until `close`, by its stream; where there is no room for one the cart is read instead. */
  async follow() {
    while (this.isOpen) {
      await this.#stream();
      if (this.isOpen) await this.#poll();
    }
  }

  close() {
    this.closed.abort();
  }

  /** Resolves when the stream has ended for good. EventSource itself comes back after an interruption. */
  #stream() {
    return new Promise((resolve) => {
      const take = (isStale) => (event) =>
        this.#arrived(JSON.parse(event.data), { isStale, tag: null, arrivals: this.arrivals });
      const source = new EventSource(`${cartPath(this.id)}/stream`);
      const end = () => {
        source.close();
        resolve();
      };
      this.closed.signal.addEventListener("abort", end);
      source.addEventListener("open", () => this.#follows("stream"));
      source.addEventListener("cart", take(false));
      source.addEventListener("merged", take(false));
      source.addEventListener("stale", take(true));
      source.addEventListener("unavailable", () =>
        this.#arrived(this.document, { isStale: true, tag: null, arrivals: this.arrivals }),
      );
      source.addEventListener("error", () => {
        this.#follows(null);
        if (source.readyState === EventSource.CLOSED) end();
      });
    });
  }

  async #poll() {
    this.#follows("polling");
    await pause(POLL_MS);
    if (this.isOpen) await this.read();
  }

  #follows(how) {
    if (this.followedBy === how || !this.isOpen) return;
    this.followedBy = how;
    this.dispatchEvent(new Event("follows"));
  }

  /** Takes what arrived, unless something newer has arrived since it was asked for. */
  #arrived(document, { isStale, tag, arrivals }) {
    const isOutdated = arrivals !== this.arrivals && orderOf(document) < orderOf(this.document);
    if (isOutdated || !this.isOpen) return;
    const isNews = JSON.stringify(document) !== JSON.stringify(this.document) || isStale !== this.isStale;
    this.document = document;
    this.isStale = isStale;
    this.tag = tag;
    if (!isNews) return;
    this.arrivals += 1;
    this.dispatchEvent(new Event("changed"));
  }
}
