-- Orders, and checkouts that the owner of orders elsewhere has not answered yet.

CREATE TABLE orders (
    order_id        text PRIMARY KEY,
    cart_id         text NOT NULL,
    -- 1, 2, … within the cart: of two checkouts at once, one finds its number taken.
    seq             integer NOT NULL,
    -- The client's key and what it was sent with; NULL where an order is known by its checkout's token.
    idempotency_key text,
    fingerprint     text,
    status          text NOT NULL,
    -- The record and answer of the order, as JSON (topics.records.OrderRecord).
    document        jsonb NOT NULL,
    -- What takes the order's lines out of the cart (carts.operations.Delta) and the snapshot's version.
    subtraction     jsonb NOT NULL,
    snapshot_v      bigint NOT NULL,
    placed_at       timestamptz NOT NULL DEFAULT now(),
    cancelled_at    timestamptz,
    -- When the folded cart was seen to have the subtraction, or never to need it.
    settled_at      timestamptz,
    UNIQUE (cart_id, seq),
    UNIQUE (cart_id, idempotency_key)
);

CREATE INDEX orders_unsettled ON orders (placed_at, order_id) WHERE settled_at IS NULL;

CREATE TABLE order_lines (
    order_id   text NOT NULL REFERENCES orders,
    line_id    text NOT NULL,
    product_id text NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    unit_price bigint NOT NULL,
    -- Whether the pieces came out of a counted stock and go back into it when the order is cancelled.
    reserved   boolean NOT NULL,
    PRIMARY KEY (order_id, line_id)
);

CREATE TABLE checkouts (
    -- Also the order_id of the order that completes it.
    token      text PRIMARY KEY,
    cart_id    text NOT NULL,
    status     text NOT NULL,
    -- What was handed out, and the versions that had decided its lines, as JSON (store.orders.Snapshot).
    snapshot   jsonb NOT NULL,
    -- What the owner of orders calls the order.
    reference  text,
    opened_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    closed_at  timestamptz
);

CREATE UNIQUE INDEX checkouts_open ON checkouts (cart_id) WHERE status = 'open';

CREATE INDEX checkouts_expiring ON checkouts (expires_at) WHERE status = 'open';
