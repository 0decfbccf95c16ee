-- Orders and external checkouts, by name. A transaction that changes an order locks the order's row first,
-- then the products in the order of their ids.

-- order_by_id
SELECT document::text FROM orders WHERE order_id = %(order_id)s

-- placed_order
SELECT document::text, fingerprint, subtraction::text, snapshot_v, settled_at IS NOT NULL
FROM orders
WHERE order_id = %(order_id)s

-- order_by_key
SELECT document::text, fingerprint, subtraction::text, snapshot_v, settled_at IS NOT NULL
FROM orders
WHERE cart_id = %(cart_id)s AND idempotency_key = %(key)s

-- latest_order
SELECT document::text, fingerprint, subtraction::text, snapshot_v, settled_at IS NOT NULL
FROM orders
WHERE cart_id = %(cart_id)s
ORDER BY seq DESC
LIMIT 1

-- orders_of_cart
SELECT document::text
FROM orders
WHERE cart_id = %(cart_id)s AND (%(before_seq)s::integer IS NULL OR seq < %(before_seq)s::integer)
ORDER BY seq DESC
LIMIT %(limit)s

-- insert_order
INSERT INTO orders (
    order_id, cart_id, seq, idempotency_key, fingerprint, status, document, subtraction, snapshot_v, placed_at
)
VALUES (
    %(order_id)s, %(cart_id)s, %(seq)s, %(key)s, %(fingerprint)s, %(status)s, %(document)s::jsonb,
    %(subtraction)s::jsonb, %(snapshot_v)s, %(placed_at)s
)

-- insert_order_lines
INSERT INTO order_lines (order_id, line_id, product_id, quantity, unit_price, reserved)
SELECT %(order_id)s, line_id, product_id, quantity, unit_price, reserved
FROM unnest(
    %(line_ids)s::text[], %(product_ids)s::text[], %(quantities)s::bigint[], %(unit_prices)s::bigint[],
    %(reserved)s::boolean[]
) AS line (line_id, product_id, quantity, unit_price, reserved)

-- lock_order
SELECT document::text FROM orders WHERE order_id = %(order_id)s FOR UPDATE

-- reserved_quantities
SELECT product_id, sum(quantity)::bigint
FROM order_lines
WHERE order_id = %(order_id)s AND reserved
GROUP BY product_id

-- cancel_order
UPDATE orders
SET status = %(status)s, document = %(document)s::jsonb, cancelled_at = %(cancelled_at)s
WHERE order_id = %(order_id)s

-- unsettled_orders
-- The grace period leaves out orders whose own checkout is still at work.
SELECT
    orders.order_id, orders.cart_id, orders.placed_at, orders.subtraction::text, orders.snapshot_v,
    carts.state::text
FROM orders
LEFT JOIN carts ON carts.cart_id = orders.cart_id
WHERE orders.settled_at IS NULL
    AND orders.placed_at < now() - %(grace)s::interval
    AND (orders.placed_at, orders.order_id) > (%(after_placed)s::timestamptz, %(after_id)s::text)
ORDER BY orders.placed_at, orders.order_id
LIMIT %(limit)s

-- settle_orders
UPDATE orders SET settled_at = now() WHERE order_id = ANY(%(order_ids)s) AND settled_at IS NULL

-- close_overdue_checkout
UPDATE checkouts
SET status = 'expired', closed_at = now()
WHERE cart_id = %(cart_id)s AND status = 'open' AND expires_at <= now()

-- open_checkout
INSERT INTO checkouts (token, cart_id, status, snapshot, expires_at)
VALUES (
    %(token)s, %(cart_id)s, 'open', %(snapshot)s::jsonb, now() + make_interval(secs => %(seconds)s)
)
ON CONFLICT (cart_id) WHERE status = 'open' DO NOTHING
RETURNING token, cart_id, status, snapshot::text, reference, expires_at

-- open_checkout_of_cart
SELECT token, cart_id, status, snapshot::text, reference, expires_at
FROM checkouts
WHERE cart_id = %(cart_id)s AND status = 'open' AND expires_at > now()

-- checkout_by_token
SELECT token, cart_id, status, snapshot::text, reference, expires_at
FROM checkouts
WHERE token = %(token)s AND cart_id = %(cart_id)s

-- complete_checkout
-- Also one that has expired: its buyer has paid.
UPDATE checkouts
SET status = 'completed', reference = %(reference)s, closed_at = now()
WHERE token = %(token)s AND status IN ('open', 'expired')
RETURNING token, cart_id, status, snapshot::text, reference, expires_at

-- cancel_checkout
UPDATE checkouts
SET status = 'cancelled', closed_at = now()
WHERE token = %(token)s AND cart_id = %(cart_id)s AND status IN ('open', 'expired')

-- expire_checkouts
UPDATE checkouts
SET status = 'expired', closed_at = now()
WHERE token IN (
    SELECT token
    FROM checkouts
    WHERE status = 'open' AND expires_at <= now()
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING token, cart_id
