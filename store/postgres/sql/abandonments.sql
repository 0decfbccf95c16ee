-- Carts left behind, by name.

-- left_behind
-- A page of carts by their ids. The page is taken before the rest is asked, so that no statement takes long.
SELECT page.cart_id, page.v, page.lines::text, page.state::text
FROM (
    SELECT cart_id, v, n, status, lines, state
    FROM carts
    WHERE cart_id > %(after)s AND cart_id <= %(last)s
) AS page
WHERE page.status = 'active'
    AND page.v <= %(newest_v)s
    AND jsonb_array_length(page.lines) > 0
    AND NOT EXISTS (
        SELECT FROM abandoned_carts AS told WHERE told.cart_id = page.cart_id AND told.v = page.v
    )
ORDER BY page.cart_id

-- insert_abandonment
INSERT INTO abandoned_carts (cart_id, v, idle_since, abandoned_at, currency, subtotal, lines)
VALUES (
    %(cart_id)s, %(v)s, %(idle_since)s, %(abandoned_at)s, %(currency)s, %(subtotal)s, %(lines)s
)
ON CONFLICT (cart_id, v) DO NOTHING
RETURNING cart_id

-- taken_up_again
-- An expiry is no change of the shopper's.
SELECT told.cart_id, told.v, told.currency, told.subtotal, told.lines, told.idle_since, placed.order_id
FROM abandoned_carts AS told
LEFT JOIN carts ON carts.cart_id = told.cart_id
LEFT JOIN LATERAL (
    SELECT orders.order_id
    FROM orders
    WHERE orders.cart_id = told.cart_id AND orders.placed_at > told.idle_since
    ORDER BY orders.seq
    LIMIT 1
) AS placed ON true
WHERE told.recovered_at IS NULL
    AND told.erased_at IS NULL
    AND told.abandoned_at > %(watched_from)s
    AND (placed.order_id IS NOT NULL OR (carts.v > told.v AND carts.status <> 'expired'))
ORDER BY told.cart_id, told.v
LIMIT %(limit)s

-- note_recovery
UPDATE abandoned_carts
SET recovered_at = %(recovered_at)s, recovered_by = %(recovered_by)s, order_id = %(order_id)s
WHERE cart_id = %(cart_id)s AND v = %(v)s AND recovered_at IS NULL
RETURNING cart_id

-- can_be_recovered
SELECT EXISTS (
    SELECT FROM abandoned_carts WHERE cart_id = %(cart_id)s AND v = %(v)s AND erased_at IS NULL
)

-- suppress
INSERT INTO mail_suppressions (address_hash) VALUES (%(address_hash)s) ON CONFLICT DO NOTHING

-- insert_mail
-- Not to who wants none, nor to who got as many today as one may.
WITH counted AS (
    INSERT INTO mails_a_day AS known (address_hash, day, mails)
    SELECT %(address_hash)s, (now() AT TIME ZONE 'UTC')::date, 1
    WHERE NOT EXISTS (SELECT FROM mail_suppressions WHERE address_hash = %(address_hash)s)
    ON CONFLICT (address_hash) DO UPDATE
    SET day = excluded.day, mails = CASE known.day WHEN excluded.day THEN known.mails + 1 ELSE 1 END
    WHERE known.day <> excluded.day OR known.mails < %(mails_per_day)s
    RETURNING mails
)
INSERT INTO post_checkout_tasks (order_id, task, record, source_partition, source_offset)
SELECT %(task_id)s, 'abandonment_mail', %(record)s, -1, -1
FROM counted
ON CONFLICT (order_id, task) DO NOTHING
RETURNING order_id

-- forget_days
DELETE FROM mails_a_day WHERE day < (now() AT TIME ZONE 'UTC')::date

-- is_mail_wanted
SELECT EXISTS (
    SELECT FROM abandoned_carts
    WHERE cart_id = %(cart_id)s AND v = %(v)s AND recovered_at IS NULL AND erased_at IS NULL
) AND NOT EXISTS (SELECT FROM mail_suppressions WHERE address_hash = %(address_hash)s)

-- erase_abandonments
-- Their mails, too, sent or not.
WITH erased AS (
    UPDATE abandoned_carts SET erased_at = now() WHERE cart_id = %(cart_id)s AND erased_at IS NULL
    RETURNING cart_id, v
)
UPDATE post_checkout_tasks AS task
SET
    record = NULL,
    detail = NULL,
    done_at = coalesce(task.done_at, now()),
    outcome = CASE task.outcome WHEN 'sent' THEN 'sent' ELSE 'erased' END
FROM erased
WHERE task.order_id = 'abandoned:' || erased.cart_id || '/' || erased.v AND task.task = 'abandonment_mail'
