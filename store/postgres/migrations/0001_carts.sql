-- One row a cart, written by the sink alone; the gateway reads it for carts that Redis does not hold.

CREATE TABLE carts (
    cart_id    text PRIMARY KEY,
    -- The version (v, n, digest): highest operation, how many there were, which ones. A row never goes back.
    v          bigint NOT NULL,
    n          bigint NOT NULL,
    digest     bigint NOT NULL,
    status     text NOT NULL,
    currency   text,
    subtotal   bigint NOT NULL,
    lines      jsonb NOT NULL,
    metadata   jsonb NOT NULL,
    -- The whole state with base, floor and recent operations: a cart goes back into Redis from it.
    state      jsonb NOT NULL,
    created_at timestamptz,
    updated_at timestamptz
)
-- Room in each page, and no index besides the key: an update then stays in its page and touches no index (HOT).
WITH (fillfactor = 80);

-- What is in the carts, a row a line, for reports and support.
CREATE VIEW cart_lines AS
SELECT
    carts.cart_id,
    line.line_id,
    line.product_id,
    line.quantity,
    line.unit_price,
    line.quantity * line.unit_price AS amount,
    carts.currency,
    line.options,
    line.metadata,
    carts.status,
    carts.updated_at
FROM carts
CROSS JOIN LATERAL jsonb_to_recordset(carts.lines) AS line (
    line_id    text,
    product_id text,
    quantity   bigint,
    unit_price bigint,
    options    jsonb,
    metadata   jsonb
);
