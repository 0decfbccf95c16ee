-- The sink's SQL, by name. Parameters are psycopg's; arrays run in parallel, one element a row.

-- upsert_carts
-- Rows come sorted by cart_id, so that two sinks never wait for each other in a circle.
INSERT INTO carts (
    cart_id, v, n, digest, status, currency, subtotal, lines, metadata, state, created_at, updated_at
)
SELECT
    cart_id, v, n, digest, status, currency, subtotal, lines::jsonb, metadata::jsonb, state::jsonb,
    created_at::timestamptz, updated_at::timestamptz
FROM unnest(
    %(cart_id)b::text[], %(v)b::bigint[], %(n)b::bigint[], %(digest)b::bigint[], %(status)b::text[],
    %(currency)b::text[], %(subtotal)b::bigint[], %(lines)b::text[], %(metadata)b::text[], %(state)b::text[],
    %(created_at)b::text[], %(updated_at)b::text[]
) AS row (
    cart_id, v, n, digest, status, currency, subtotal, lines, metadata, state, created_at, updated_at
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
    created_at = excluded.created_at,
    updated_at = excluded.updated_at
WHERE (excluded.v, excluded.n) > (carts.v, carts.n)

-- delete_carts
-- A deletion names the version it saw: a cart that has gone on since stays.
DELETE FROM carts
USING unnest(%(cart_id)b::text[], %(v)b::bigint[], %(n)b::bigint[]) AS gone (cart_id, v, n)
WHERE carts.cart_id = gone.cart_id AND (carts.v, carts.n) <= (gone.v, gone.n)

