/** The client: a method for each call of a shop, by the name that the OpenAPI document gives it. */

import createClient, { type Client } from "openapi-fetch";

import { GatewayClock } from "./keys.js";
import { ProblemError } from "./problems.js";
import { DEFAULT_RETRIES, growing, type RetryPolicy } from "./retries.js";
import type { paths } from "./schema.js";
import { type Proofs, Sender } from "./sender.js";
import { type CartEvent, type FollowOptions, follow } from "./stream.js";
import type {
  AddItem,
  CallOptions,
  Cart,
  ChangedCart,
  ChangeOptions,
  Checkout,
  Durability,
  GuestCart,
  Merge,
  MergeGuest,
  MintCart,
  MintedCart,
  Operation,
  Order,
  OrderPage,
  PatchDetails,
  PatchItem,
  PlaceOrder,
  Product,
  ProductPage,
  PutItem,
  ReadCart,
} from "./types.js";
import { pause } from "./waiting.js";

export interface ClientOptions {
  /** Where the gateway answers, without `/v1`: `https://carts.example.org`. */
  baseUrl: string;
  /** What proves who calls. */
  proofs?: Proofs;
  /** What is to be different from DEFAULT_RETRIES. */
  retries?: Partial<RetryPolicy>;
  /** Whether a browser sends its cookies: `include` for a gateway of another origin. */
  credentials?: RequestCredentials;
  /** Used in place of the global fetch. */
  fetch?: typeof globalThis.fetch;
}

/** What an edit makes of the cart: the steps of one change; none (or null) if nothing is to be done. */
export type Edit = (cart: Cart) => Operation[] | null | Promise<Operation[] | null>;

/** How often an edit is applied again, at most, because the cart has changed meanwhile. */
const REBASES = 8;
const LOOK_AGAIN_MS = 300;

interface Answer<T> {
  data?: T | undefined;
  response: Response;
}

/**
 * Calls the gateway. Every call throws ProblemError for a refusal and NoAnswerError without an answer; what may
 * pass is tried again first, with the same Idempotency-Key, so a change is never made twice.
 */
export class CartClient {
  /** All routes of the OpenAPI document by their paths, for what has no method here; errors are thrown, too. */
  readonly api: Client<paths>;
  readonly #sender: Sender;
  readonly #options: ClientOptions;
  readonly #policy: RetryPolicy;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#policy = { ...DEFAULT_RETRIES, ...options.retries };
    const fetch = options.fetch ?? globalThis.fetch;
    this.#sender = new Sender(fetch, options.proofs ?? {}, this.#policy, new GatewayClock());
    this.api = createClient<paths>({
      baseUrl: options.baseUrl,
      ...(options.credentials && { credentials: options.credentials }),
      fetch: (request) => this.#sender.send(request),
    });
  }

  /** A new guest cart, with its first items or empty, and the token that proves it: keep that secret. */
  async mintCart(
    body?: MintCart,
    options: Pick<ChangeOptions, "signal" | "idempotencyKey"> = {},
  ): Promise<MintedCart> {
    return bodyOf(await this.api.POST("/v1/carts", { ...(body && { body }), ...sent(options) }));
  }

  /** A guest token with its whole lifetime ahead; the old one proves who calls. */
  async renewToken(cartId: string, options: CallOptions = {}): Promise<GuestCart> {
    return bodyOf(await this.api.POST("/v1/carts/{cart_id}/token", { ...of(cartId), ...sent(options) }));
  }

  /** The cart; one never written is empty. */
  async readCart(cartId: string, options: CallOptions = {}): Promise<ReadCart> {
    const answer = await this.api.GET("/v1/carts/{cart_id}", { ...of(cartId), ...sent(options) });
    const { headers } = answer.response;
    return {
      cart: bodyOf(answer),
      etag: headers.get("etag") ?? "",
      isStale: headers.get("cart-freshness") === "stale",
    };
  }

  /** Add pieces of a product; adds sum up. */
  async addItem(cartId: string, body: AddItem, options: ChangeOptions = {}): Promise<ChangedCart> {
    return changed(await this.api.POST("/v1/carts/{cart_id}/items", { ...of(cartId), body, ...sent(options) }));
  }

  /** Replace quantity and metadata of a line; quantity 0 removes it. */
  async putItem(
    cartId: string,
    lineId: string,
    body: PutItem,
    options: ChangeOptions = {},
  ): Promise<ChangedCart> {
    const init = { ...ofLine(cartId, lineId), body, ...sent(options) };
    return changed(await this.api.PUT("/v1/carts/{cart_id}/items/{line_id}", init));
  }

  /** Change quantity, metadata or both of a line; quantity 0 removes it. */
  async patchItem(
    cartId: string,
    lineId: string,
    body: PatchItem,
    options: ChangeOptions = {},
  ): Promise<ChangedCart> {
    const init = { ...ofLine(cartId, lineId), body, ...sent(options) };
    return changed(await this.api.PATCH("/v1/carts/{cart_id}/items/{line_id}", init));
  }

  /** Remove a line; one that is not there is no error. */
  async removeItem(cartId: string, lineId: string, options: ChangeOptions = {}): Promise<ChangedCart> {
    const init = { ...ofLine(cartId, lineId), ...sent(options) };
    return changed(await this.api.DELETE("/v1/carts/{cart_id}/items/{line_id}", init));
  }

  /** Remove all lines; metadata, details and what is saved for later stay. */
  async clearCart(cartId: string, options: ChangeOptions = {}): Promise<ChangedCart> {
    const answer = await this.api.DELETE("/v1/carts/{cart_id}", { ...of(cartId), ...sent(options) });
    return changed({ ...answer, data: answer.data as Cart }); // a certificate is the answer to an erasure only
  }

  /** Several steps as one change: all or none. */
  async patchCart(
    cartId: string,
    operations: Operation[],
    options: ChangeOptions = {},
  ): Promise<ChangedCart> {
    const init = { ...of(cartId), body: { operations }, ...sent(options) };
    return changed(await this.api.PATCH("/v1/carts/{cart_id}", init));
  }

  /** Set or remove e-mail, codes, addresses, …: null removes one, those left out stay. */
  async patchDetails(
    cartId: string,
    body: PatchDetails,
    options: ChangeOptions = {},
  ): Promise<ChangedCart> {
    return changed(
      await this.api.PATCH("/v1/carts/{cart_id}/details", { ...of(cartId), body, ...sent(options) }),
    );
  }

  /**
   * Change the cart by what is in it: `edit` gets the cart, and its steps are applied if the cart is still the
   * same then. Otherwise it gets the new cart, at most eight times; so it must do nothing but decide.
   */
  async updateCart(
    cartId: string,
    edit: Edit,
    options: Omit<ChangeOptions, "ifMatch" | "idempotencyKey"> = {},
  ): Promise<ChangedCart> {
    for (let tried = 1; ; tried++) {
      const { cart, etag } = await this.readCart(cartId, { signal: options.signal });
      const operations = await edit(cart);
      if (operations === null || operations.length === 0) {
        return { cart, etag, isReplayed: false, durability: null, receipt: null };
      }
      try {
        return await this.patchCart(cartId, operations, { ...options, ifMatch: etag });
      } catch (error) {
        const isChanged = error instanceof ProblemError && error.status === 412;
        if (!isChanged || tried === REBASES) throw error;
      }
      await pause(growing(10, 500, tried, Math.random()), options.signal);
    }
  }

  /**
   * Carry a guest's cart over, at login say. Waits until that is done, as long as the policy's deadline; a
   * merge that is `running` then goes on without it, and `readMerge` tells how far it is.
   */
  async mergeGuestCart(cartId: string, body: MergeGuest, options: CallOptions = {}): Promise<Merge> {
    const began = performance.now();
    let merge = bodyOf(
      await this.api.POST("/v1/carts/{cart_id}/merge", { ...of(cartId), body, ...sent(options) }),
    );
    while (merge.status === "running" && performance.now() - began < this.#policy.deadlineMs) {
      await pause(LOOK_AGAIN_MS, options.signal);
      merge = await this.readMerge(merge.merge_id, options);
    }
    return merge;
  }

  /** How far a merge is. */
  async readMerge(mergeId: string, options: CallOptions = {}): Promise<Merge> {
    const params = { path: { merge_id: mergeId } };
    return bodyOf(await this.api.GET("/v1/merges/{merge_id}", { params, ...sent(options) }));
  }

  /**
   * Order what is in the cart: the order, or a checkout where another system keeps the orders (`isOrder` tells).
   * `ifMatch` with the version that the shopper has seen makes sure that nothing else is ordered.
   */
  async checkOut(
    cartId: string,
    body?: PlaceOrder,
    options: Omit<ChangeOptions, "durability" | "isStrict"> = {},
  ): Promise<Order | Checkout> {
    const init = { ...of(cartId), ...(body && { body }), ...sent(options) };
    return bodyOf(await this.api.POST("/v1/carts/{cart_id}/checkout", init));
  }

  /** The cart's orders, newest first. */
  async listOrders(
    cartId: string,
    query: { cursor?: number; limit?: number } = {},
    options: CallOptions = {},
  ): Promise<OrderPage> {
    const params = { path: { cart_id: cartId }, query };
    return bodyOf(await this.api.GET("/v1/carts/{cart_id}/orders", { params, ...sent(options) }));
  }

  /** An order as it is now. */
  async readOrder(orderId: string, options: CallOptions = {}): Promise<Order> {
    const params = { path: { order_id: orderId } };
    return bodyOf(await this.api.GET("/v1/orders/{order_id}", { params, ...sent(options) }));
  }

  /** Cancel an order: its quantities return to stock, its cart stays as it is. */
  async cancelOrder(orderId: string, options: CallOptions = {}): Promise<Order> {
    const params = { path: { order_id: orderId } };
    return bodyOf(await this.api.POST("/v1/orders/{order_id}/cancel", { params, ...sent(options) }));
  }

  /** A page of the catalogue. */
  async listProducts(
    query: NonNullable<paths["/v1/products"]["get"]["parameters"]["query"]> = {},
    options: CallOptions = {},
  ): Promise<ProductPage> {
    return bodyOf(await this.api.GET("/v1/products", { params: { query }, ...sent(options) }));
  }

  /** A product, active or not. */
  async readProduct(productId: string, options: CallOptions = {}): Promise<Product> {
    const params = { path: { product_id: productId } };
    return bodyOf(await this.api.GET("/v1/products/{product_id}", { params, ...sent(options) }));
  }

  /**
   * What happens to the cart from now on, beginning with the cart itself, until the iteration is left. A stream
   * that is cut comes back by itself and misses nothing. Throws ProblemError when coming back cannot help.
   */
  streamCart(cartId: string, options: FollowOptions = {}): AsyncGenerator<CartEvent, void, undefined> {
    const path = `${this.#options.baseUrl.replace(/\/$/, "")}/v1/carts/${encodeURIComponent(cartId)}/stream`;
    const opened = async (version: string | null, signal: AbortSignal): Promise<Response> => {
      const query = options.tickets ? `?ticket=${await this.#ticket(cartId, signal)}` : "";
      const headers = {
        accept: "text/event-stream",
        ...(version !== null && { "last-event-id": version }),
      };
      const request = new Request(path + query, {
        headers,
        signal,
        cache: "no-store",
        ...(this.#options.credentials && { credentials: this.#options.credentials }),
      });
      return this.#sender.once(request, null, !options.tickets);
    };
    return follow(async (version, signal) => {
      try {
        return await opened(version, signal);
      } catch (error) {
        const isUsedUp = options.tickets && error instanceof ProblemError && error.status === 401;
        if (!isUsedUp) throw error;
        return opened(version, signal); // the ticket was too old by then, or lost with Redis
      }
    }, options);
  }

  async #ticket(cartId: string, signal: AbortSignal): Promise<string> {
    const init = { ...of(cartId), signal };
    return bodyOf(await this.api.POST("/v1/carts/{cart_id}/stream-tickets", init)).ticket;
  }
}

const of = (cartId: string) => ({ params: { path: { cart_id: cartId } } });

const ofLine = (cartId: string, lineId: string) => ({
  params: { path: { cart_id: cartId, line_id: lineId } },
});

/** The headers and the signal of a call. */
function sent(options: ChangeOptions): { headers: Record<string, string>; signal: AbortSignal | null } {
  const headers: Record<string, string> = {};
  if (options.ifMatch !== undefined) headers["if-match"] = options.ifMatch;
  if (options.idempotencyKey !== undefined) headers["idempotency-key"] = options.idempotencyKey;
  const preferences: string[] = [];
  if (options.durability !== undefined) preferences.push(`durability=${options.durability}`);
  if (options.isStrict) preferences.push("handling=strict");
  if (preferences.length > 0) headers["prefer"] = preferences.join(", ");
  return { headers, signal: options.signal ?? null };
}

function bodyOf<T>(answer: Answer<T>): T {
  if (answer.data === undefined) throw new TypeError(`an answer ${answer.response.status} without a body`);
  return answer.data;
}

function changed(answer: Answer<Cart>): ChangedCart {
  const { headers } = answer.response;
  const applied = headers.get("preference-applied") ?? "";
  return {
    cart: bodyOf(answer),
    etag: headers.get("etag") ?? "",
    isReplayed: headers.get("idempotency-replayed") === "true",
    durability: (/durability=(\w+)/.exec(applied)?.[1] as Durability | undefined) ?? null,
    receipt: headers.get("cart-receipt"),
  };
}
