-- The SQL on `carts`, by name. Parameters are psycopg's; arrays run in parallel, one element a row.

-- upsert_carts
-- Rows come sorted by cart_id, so that two sinks never wait for each other in a circle.
INSERT INTO carts (
    cart_id, v, n, digest, status, currency, subtotal, lines, metadata, state, window_bytes,
    created_at, updated_at
)
SELECT
    cart_id, v, n, digest, status, currency, subtotal, lines::jsonb, metadata::jsonb, state::jsonb, window_bytes,
    created_at::timestamptz, updated_at::timestamptz
FROM unnest(
    %(cart_id)b::text[], %(version_number)b::bigint[], %(operation_count)b::bigint[], %(digest)b::bigint[], %(status)b::text[],
    %(currency)b::text[], %(subtotal)b::bigint[], %(lines)b::text[], %(metadata)b::text[], %(state)b::text[],
    %(window_bytes)b::integer[], %(created_at)b::text[], %(updated_at)b::text[]
) AS row (
    cart_id, v, n, digest, status, currency, subtotal, lines, metadata, state, window_bytes, created_at, updated_at
)
ON CONFLICT (cart_id) DO UPDATE SET
    v = excluded.v,
    n = excluded.n,
    digest = excluded.digest,
    status = excluded.status,
    currency = excluded.currency,
    subtotal = excluded.subtotal,
    lines = excluded.lines,
    metadata = excluded.metadata,
    state = excluded.state,
    window_bytes = excluded.window_bytes,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at
WHERE
    (excluded.v, excluded.n) > (carts.v, carts.n)
    OR (
        (excluded.v, excluded.n, excluded.digest) = (carts.v, carts.n, carts.digest)
        AND excluded.window_bytes < carts.window_bytes
    )

-- delete_carts
-- A deletion names the version it saw: a cart that has gone on since stays.
DELETE FROM carts
USING unnest(%(cart_id)b::text[], %(version_number)b::bigint[], %(operation_count)b::bigint[]) AS gone (cart_id, v, n)
WHERE carts.cart_id = gone.cart_id AND (carts.v, carts.n) <= (gone.v, gone.n)

-- delete_replaced_carts
-- Of the same version, a row with a smaller window has been trimmed since the other was read.
DELETE FROM carts
USING unnest(
    %(cart_id)b::text[], %(version_number)b::bigint[], %(operation_count)b::bigint[], %(digest)b::bigint[],
    %(window_bytes)b::integer[]
) AS row (cart_id, v, n, digest, window_bytes)
WHERE carts.cart_id = row.cart_id AND (carts.v, carts.n) <= (row.v, row.n)
    AND NOT ((carts.v, carts.n, carts.digest) = (row.v, row.n, row.digest) AND carts.window_bytes < row.window_bytes)

-- read_carts
SELECT cart_id, v, n, digest, status, currency, subtotal, lines::text, metadata::text, state::text
FROM carts WHERE cart_id = ANY(%(cart_id)s)

-- states_of_carts
SELECT cart_id, state::text FROM carts WHERE cart_id = ANY(%(cart_id)s)

-- look_up_carts
-- The position stands beside each row, and beside the absence of one: all of one moment.
SELECT asked.cart_id, carts.state::text, carts_positions.position, carts_positions.topic_id
FROM unnest(%(cart_id)s::text[], %(partition)s::integer[]) AS asked (cart_id, partition)
LEFT JOIN carts ON carts.cart_id = asked.cart_id
LEFT JOIN carts_positions
    ON carts_positions.generation = %(generation)s AND carts_positions.partition = asked.partition

-- cart_ids_after
SELECT cart_id FROM carts WHERE cart_id > %(after)s ORDER BY cart_id LIMIT %(limit)s

-- cart_ages_after
-- By the primary key, for an index on v would cost every update of a row its HOT path. Of a merged cart only
-- the state tells whether it has expired, too.
SELECT cart_id, v, n, status, window_bytes, CASE WHEN status = 'merged' THEN state::text END
FROM carts WHERE cart_id > %(after)s ORDER BY cart_id LIMIT %(limit)s

-- count_carts
SELECT count(*) FROM carts

-- mean_bytes_of_carts
SELECT coalesce(avg(pg_column_size(carts)), 0)::float8 FROM carts WHERE cart_id = ANY(%(cart_id)s)

-- facts_of_carts
SELECT greatest(reltuples, 0)::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM pg_class WHERE oid = 'carts'::regclass
