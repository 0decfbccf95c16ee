/** Names for the schemas of the OpenAPI document that callers handle. */

import type { components } from "./schema.js";

type Schemas = components["schemas"];

export type Cart = Schemas["ShownCart"];
export type Line = Schemas["ShownLine"];
export type MintCart = Schemas["MintCart"];
export type MintedCart = Schemas["MintedCart"];
export type GuestCart = Schemas["GuestCart"];
export type AddItem = Schemas["AddItem"];
export type PutItem = Schemas["PutItem"];
export type PatchItem = Schemas["PatchItem"];
export type PatchDetails = Schemas["PatchDetails"];
/** One step of a change: `add`, `set`, `remove`, `clear`, `metadata`, `details` or `save`. */
export type Operation = Schemas["PatchCart"]["operations"][number];
export type MergeGuest = Schemas["MergeGuest"];
export type Merge = Schemas["MergeDocument"];
export type PlaceOrder = Schemas["PlaceOrder"];
export type Order = Schemas["OrderRecord"];
export type OrderPage = Schemas["OrderPage"];
/** An external checkout: another system sells these lines. */
export type Checkout = Schemas["CheckoutDocument"];
export type Product = Schemas["Product"];
export type ProductPage = Schemas["ProductPage"];

/** A cart as it was read. */
export interface ReadCart {
  cart: Cart;
  /** Its version, for `ifMatch`. */
  etag: string;
  /** It is a copy that may be outdated, for the live cart cannot be reached. */
  isStale: boolean;
}

/** A cart after a change. */
export interface ChangedCart {
  cart: Cart;
  /** Its version, for `ifMatch`. */
  etag: string;
  /** An earlier try, without an answer, had made the change already. */
  isReplayed: boolean;
  /** What the change has reached: `redis`, `kafka` or `postgres`. */
  durability: Durability | null;
  /** `topic/partition/offset` of the change, once Kafka has it. */
  receipt: string | null;
}

/** The stores that a change has reached, each with those before it. */
export type Durability = "redis" | "kafka" | "postgres";

export interface CallOptions {
  /** Ends the call: it throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface ChangeOptions extends CallOptions {
  /** Change the cart only at this version (`etag`); ProblemError with status 412 otherwise. */
  ifMatch?: string | undefined;
  /** Goes on with a change of which an earlier call did not learn whether it was made. */
  idempotencyKey?: string | undefined;
  /** What the change must reach before it is answered; `kafka` unless given. */
  durability?: Durability | undefined;
  /** Throw `/problems/durability-not-reached` if it does not; the change is made all the same. */
  isStrict?: boolean | undefined;
}

/** Whether a checkout was answered with an order: where the product keeps the orders. */
export const isOrder = (found: Order | Checkout): found is Order => !("token" in found);
