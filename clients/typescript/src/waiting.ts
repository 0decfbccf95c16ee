/** Pauses and time limits that end when a signal is aborted. */

/** Resolves after so many milliseconds. Throws the signal's reason once it is aborted. */
export function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, milliseconds);
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end, { once: true });
  });
}

/** A signal that is aborted with another one, or when its time is over. */
export interface Limit {
  readonly signal: AbortSignal;
  /** Begin the time anew. */
  renew(): void;
  /** Keep no time any more, and end what still goes on under the signal. */
  release(): void;
}

/** A limit of so many milliseconds. AbortSignal.any would do, but browsers of 2023 lack it. */
export function limited(signal: AbortSignal | undefined, milliseconds: number): Limit {
  const controller = new AbortController();
  const follow = (): void => controller.abort(signal?.reason);
  const expire = (): void =>
    controller.abort(new DOMException(`nothing has come for ${milliseconds} ms`, "TimeoutError"));
  let timer = setTimeout(expire, milliseconds);
  if (signal?.aborted) follow();
  else signal?.addEventListener("abort", follow, { once: true });
  return {
    signal: controller.signal,
    renew() {
      clearTimeout(timer);
      timer = setTimeout(expire, milliseconds);
    },
    release() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", follow);
      controller.abort();
    },
  };
}

/**
 * What the promise becomes, or the signal's reason if that comes first. A fetch alone does not do: Node.js may
 * collect what ties it to its signal.
 */
export function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = (): void => reject(signal.reason);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}
