-- The SQL on `cart_changes`, by name. Arrays run in parallel, one element a row.

-- insert_changes
-- Not what an erasure has forgotten. A day has 172,800,000,000 halves of a microsecond.
INSERT INTO cart_changes (cart_id, v, op_id, day, operation, previous_v, born, actor, cause)
SELECT
    cart_id, v, op_id, date '1970-01-01' + (v / 172800000000)::integer, operation::jsonb, previous_v, born, actor,
    cause
FROM unnest(
    %(cart_id)b::text[], %(version)b::bigint[], %(op_id)b::text[], %(operation)b::text[],
    %(previous_version)b::bigint[], %(born)b::bigint[], %(actor)b::text[], %(cause)b::text[]
) WITH ORDINALITY AS row (cart_id, v, op_id, operation, previous_v, born, actor, cause, place)
WHERE NOT EXISTS (
    SELECT FROM erased_histories AS erased WHERE erased.cart_id = row.cart_id AND erased.v > row.v
)
ORDER BY row.place
ON CONFLICT DO NOTHING

-- erase_changes
-- The erasure itself stays.
WITH noted AS (
    INSERT INTO erased_histories AS known (cart_id, v)
    SELECT cart_id, v FROM unnest(%(cart_id)b::text[], %(version)b::bigint[]) AS erased (cart_id, v)
    ON CONFLICT (cart_id) DO UPDATE SET v = greatest(known.v, excluded.v), erased_at = now()
)
DELETE FROM cart_changes AS known
USING unnest(%(cart_id)b::text[], %(version)b::bigint[]) AS erased (cart_id, v)
WHERE known.cart_id = erased.cart_id AND known.v < erased.v

-- count_changes
SELECT count(*)
FROM cart_changes
WHERE cart_id = %(cart_id)s AND v <= %(until)s AND operation -> 0 ->> 'kind' <> 'erase'

-- changes_before
SELECT v, op_id, operation::text, previous_v, born, actor, cause
FROM cart_changes
WHERE cart_id = %(cart_id)s AND (v, op_id) < (%(version)s, %(op_id)s)
ORDER BY v DESC, op_id DESC
LIMIT %(limit)s

-- changes_until
-- The first ones, in the order of the fold.
SELECT v, op_id, operation::text, previous_v, born, actor, cause
FROM cart_changes
WHERE cart_id = %(cart_id)s AND v <= %(until)s
ORDER BY place
LIMIT %(limit)s

-- partitions
-- Names and days; that of the rest has none.
SELECT relname, to_date(right(relname, 8), 'YYYYMMDD')
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'cart_changes'::regclass AND relname ~ '^cart_changes_[0-9]{8}$'
ORDER BY relname

-- create_partition
SELECT make_history_day(%(day)s)

-- drop_partition
SELECT drop_history_day(%(day)s)

-- delete_from_rest
DELETE FROM cart_changes_rest WHERE day < %(day)s

-- forget_erasures
DELETE FROM erased_histories WHERE erased_at < now() - %(kept)s::interval
