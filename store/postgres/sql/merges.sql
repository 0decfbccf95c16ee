-- Merges and their transfers, by name.

-- begin_merge
INSERT INTO merges (merge_id, guest, into_cart, strategy)
VALUES (%(merge_id)s, %(guest)s, %(into_cart)s, %(strategy)s)
ON CONFLICT (guest) DO NOTHING

-- merge_of_guest
SELECT merge_id, guest, into_cart, strategy, lines_total, is_open, began_at, finished_at
FROM merges
WHERE guest = %(guest)s

-- merge_by_id
SELECT merge_id, guest, into_cart, strategy, lines_total, is_open, began_at, finished_at
FROM merges
WHERE merge_id = %(merge_id)s

-- transfers_of_merge
SELECT transfer::text, cart_version, settled_at IS NOT NULL
FROM merge_transfers
WHERE merge_id = %(merge_id)s
ORDER BY number

-- open_merges_into
SELECT merge_id, guest, into_cart, strategy, lines_total, is_open, began_at, finished_at
FROM merges
WHERE into_cart = %(into_cart)s AND is_open
ORDER BY merge_id
LIMIT %(limit)s

-- merges_of_cart
-- Out of the cart and into it, the newest ones first.
SELECT merge_id, guest, into_cart, strategy, lines_total, is_open, began_at, finished_at
FROM merges
WHERE guest = %(cart_id)s OR into_cart = %(cart_id)s
ORDER BY began_at DESC, merge_id DESC
LIMIT %(limit)s

-- latest_transfer
-- Of a cart, into it or out of it: they have one sequence of numbers.
SELECT merge_id, guest, into_cart, number, transfer::text
FROM (
    (
        SELECT m.merge_id, m.guest, t.into_cart, t.place AS number, t.transfer
        FROM merge_transfers AS t
        JOIN merges AS m ON m.merge_id = t.merge_id
        WHERE t.into_cart = %(cart_id)s AND t.place IS NOT NULL
        ORDER BY t.place DESC
        LIMIT 1
    )
    UNION ALL
    (
        SELECT m.merge_id, m.guest, t.into_cart, t.number, t.transfer
        FROM merge_transfers AS t
        JOIN merges AS m ON m.merge_id = t.merge_id
        WHERE m.guest = %(cart_id)s
        ORDER BY t.number DESC
        LIMIT 1
    )
) AS latest
ORDER BY number DESC
LIMIT 1

-- insert_transfer
INSERT INTO merge_transfers (merge_id, number, into_cart, place, transfer)
VALUES (%(merge_id)s, %(number)s, %(into_cart)s, %(place)s, %(transfer)s::jsonb)

-- attend_to_merge
UPDATE merges
SET attended_at = now(), lines_total = greatest(lines_total, %(lines_total)s)
WHERE merge_id = %(merge_id)s

-- note_cart_version
UPDATE merge_transfers
SET cart_version = coalesce(cart_version, %(cart_version)s)
WHERE merge_id = %(merge_id)s AND number = %(number)s

-- finish_merge
UPDATE merges
SET is_open = false, finished_at = coalesce(finished_at, now())
WHERE merge_id = %(merge_id)s

-- carry_further
-- At the next look: whoever is busy with an open one sees the transfer itself.
UPDATE merges
SET is_open = true, attended_at = to_timestamp(0)
WHERE guest = %(cart_id)s AND NOT is_open

-- unsettled_transfers
-- Not those that whoever decided them is still busy with.
SELECT
    t.merge_id, t.number, t.transfer::text, guest.state::text, target.state::text
FROM merge_transfers AS t
JOIN merges AS m ON m.merge_id = t.merge_id
LEFT JOIN carts AS guest ON guest.cart_id = m.guest
LEFT JOIN carts AS target ON target.cart_id = m.into_cart
WHERE t.settled_at IS NULL
    AND t.decided_at < now() - %(grace)s::interval
    AND (t.merge_id, t.number) > (%(after_id)s, %(after_number)s)
ORDER BY t.merge_id, t.number
LIMIT %(limit)s

-- settle_transfers
UPDATE merge_transfers AS t
SET settled_at = now()
FROM unnest(%(merge_ids)s::text[], %(numbers)s::bigint[]) AS seen (merge_id, number)
WHERE t.merge_id = seen.merge_id AND t.number = seen.number AND t.settled_at IS NULL

-- unattended_merges
SELECT merge_id
FROM merges
WHERE is_open
    AND attended_at < now() - %(grace)s::interval
    AND (handed_over_at IS NULL OR handed_over_at < now() - %(patience)s::interval)
ORDER BY attended_at
LIMIT %(limit)s

-- hand_over
-- Not while the merge agent has a record of it to come, however long that waits behind others.
UPDATE merges
SET attended_at = now(), handed_over_at = now()
WHERE merge_id = ANY(%(merge_ids)s)
    AND attended_at < now() - %(grace)s::interval
    AND (handed_over_at IS NULL OR handed_over_at < now() - %(patience)s::interval)
RETURNING merge_id, guest, into_cart

-- taken_merge
UPDATE merges
SET attended_at = now(), handed_over_at = NULL
WHERE merge_id = %(merge_id)s

-- changed_guests
-- Guests' carts that have changed since their merge has ended, or since they were last looked at.
SELECT m.merge_id, c.v, c.n, c.state::text
FROM merges AS m
JOIN carts AS c ON c.cart_id = m.guest
WHERE NOT m.is_open
    AND m.finished_at > now() - %(watched)s::interval
    AND m.merge_id > %(after_id)s
    AND (m.looked_v, m.looked_n) IS DISTINCT FROM (c.v, c.n)
    -- Until then the row may not have what the last transfer has taken out.
    AND NOT EXISTS (
        SELECT FROM merge_transfers AS t WHERE t.merge_id = m.merge_id AND t.settled_at IS NULL
    )
ORDER BY m.merge_id
LIMIT %(limit)s

-- note_looks
UPDATE merges AS m
SET looked_v = seen.v, looked_n = seen.n
FROM unnest(%(merge_ids)s::text[], %(v)s::bigint[], %(n)s::bigint[]) AS seen (merge_id, v, n)
WHERE m.merge_id = seen.merge_id

-- take_up_again
UPDATE merges
SET is_open = true, attended_at = to_timestamp(0)
WHERE merge_id = ANY(%(merge_ids)s)

-- forget_merges
-- The guest's cart is gone: a new one with its id is another cart.
DELETE FROM merges
WHERE merge_id IN (
    SELECT m.merge_id
    FROM merges AS m
    WHERE NOT m.is_open
        AND m.finished_at < now() - %(kept)s::interval
        AND NOT EXISTS (SELECT FROM carts WHERE carts.cart_id = m.guest)
        AND NOT EXISTS (
            SELECT FROM merge_transfers AS t WHERE t.merge_id = m.merge_id AND t.settled_at IS NULL
        )
    LIMIT %(limit)s
)

-- lock_cart
-- Whoever decides what merges or orders take out of a cart, or bring it, does it alone, until its transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(%(cart_id)s, 6))

-- latest_transfer_of_guest
SELECT t.transfer::text, t.cart_version, t.settled_at IS NOT NULL
FROM merge_transfers AS t
JOIN merges AS m ON m.merge_id = t.merge_id
WHERE m.guest = %(guest)s
ORDER BY t.number DESC
LIMIT 1
