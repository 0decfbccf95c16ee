-- What Postgres holds of a shopper beside the row of the cart, by name. The row is the sink's.
-- `until`: only what was there by then; NULL: all.

-- lock_orders
SELECT order_id FROM orders WHERE cart_id = %(cart_id)s ORDER BY order_id FOR UPDATE

-- orders
SELECT order_id, document::text
FROM orders
WHERE cart_id = %(cart_id)s AND (%(until)s::timestamptz IS NULL OR placed_at <= %(until)s)
ORDER BY order_id

-- erase_order
-- The fingerprint was made of what the buyer has sent, too. Without it a retry of the checkout is refused.
UPDATE orders SET document = %(document)s::jsonb, fingerprint = NULL WHERE order_id = %(order_id)s

-- checkouts
SELECT token, snapshot::text
FROM checkouts
WHERE cart_id = %(cart_id)s AND (%(until)s::timestamptz IS NULL OR opened_at <= %(until)s)

-- erase_checkout
-- An open one has expired then: it can still be completed, for its buyer may have paid.
UPDATE checkouts
SET
    snapshot = %(document)s::jsonb,
    status = CASE status WHEN 'open' THEN 'expired' ELSE status END,
    closed_at = coalesce(closed_at, now())
WHERE token = %(token)s

-- transfers
-- Into the cart, and out of it: each by its own index.
SELECT merge_id, number, transfer::text
FROM (
    SELECT * FROM merge_transfers WHERE into_cart = %(cart_id)s
    UNION
    SELECT t.*
    FROM merge_transfers AS t
    JOIN merges ON merges.merge_id = t.merge_id
    WHERE merges.guest = %(cart_id)s
) AS found
WHERE %(until)s::timestamptz IS NULL OR decided_at <= %(until)s

-- merged_guests
-- Those of which something has come into the cart, if need be through another guest's cart.
WITH RECURSIVE found (guest) AS (
    SELECT m.guest
    FROM merge_transfers AS t
    JOIN merges AS m ON m.merge_id = t.merge_id
    WHERE t.into_cart = %(cart_id)s
    UNION
    SELECT m.guest
    FROM found
    JOIN merge_transfers AS t ON t.into_cart = found.guest
    JOIN merges AS m ON m.merge_id = t.merge_id
)
SELECT guest FROM found ORDER BY guest

-- erase_transfer
UPDATE merge_transfers
SET transfer = %(document)s::jsonb
WHERE merge_id = %(merge_id)s AND number = %(number)s

-- drop_order_records
DELETE FROM outbox WHERE topic = %(topic)s AND key = ANY(%(order_ids)s)

-- count_mails
SELECT count(*)
FROM post_checkout_tasks
WHERE record IS NOT NULL
    AND (
        order_id = ANY(%(order_ids)s)
        OR order_id IN (
            SELECT 'abandoned:' || cart_id || '/' || v FROM abandoned_carts WHERE cart_id = %(cart_id)s
        )
    )

-- count_links
SELECT count(*)
FROM abandoned_carts
WHERE cart_id = %(cart_id)s
    AND erased_at IS NULL
    AND (%(until)s::timestamptz IS NULL OR abandoned_at <= %(until)s)

-- erase_mails
-- Also those that nobody has recorded yet: a mail sink that is behind must not bring the address back.
INSERT INTO post_checkout_tasks AS known (
    order_id, task, record, source_partition, source_offset, done_at, outcome
)
SELECT order_id, task, NULL, -1, -1, now(), 'erased'
FROM unnest(%(order_ids)s::text[]) AS o (order_id) CROSS JOIN unnest(%(tasks)s::text[]) AS t (task)
ORDER BY order_id, task
ON CONFLICT (order_id, task) DO UPDATE SET
    record = NULL,
    detail = NULL,
    done_at = coalesce(known.done_at, now()),
    outcome = CASE known.outcome WHEN 'sent' THEN 'sent' ELSE 'erased' END
