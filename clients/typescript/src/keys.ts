/** Idempotency keys. They tell when the first try was, so the gateway itself refuses a try that is too late. */

/**
 * The gateway's clock, as its replies tell it. A shopper's own clock may be hours off, and a key with its time
 * would be refused as too old.
 */
export class GatewayClock {
  #aheadMs = 0;

  /** Learn from a reply's `Date`. */
  learn(headers: Headers): void {
    const told = Date.parse(headers.get("date") ?? "");
    if (!Number.isNaN(told)) this.#aheadMs = told - Date.now();
  }

  /** Milliseconds since 1970; this machine's until a reply has come. */
  now(): number {
    return Date.now() + this.#aheadMs;
  }
}

/** A UUIDv7 (RFC 9562) of that time, in milliseconds since 1970. */
export function newKey(timeMs: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(timeMs / 2 ** 32));
  view.setUint32(2, timeMs % 2 ** 32);
  view.setUint8(6, (view.getUint8(6) & 0x0f) | 0x70);
  view.setUint8(8, (view.getUint8(8) & 0x3f) | 0x80);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
