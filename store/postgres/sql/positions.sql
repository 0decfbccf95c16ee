-- The SQL on `carts_positions`, by name. Parameters are psycopg's; arrays run in parallel, one element a row.

-- begin_positions
INSERT INTO carts_positions (partition, topic_id, position)
SELECT partition, topic_id, position
FROM unnest(%(partition)s::integer[], %(topic_id)s::text[], %(position)s::bigint[])
    AS begun (partition, topic_id, position)
ON CONFLICT (partition) DO UPDATE SET
    topic_id = excluded.topic_id,
    position = excluded.position,
    purge_floor = 0,
    written_at = clock_timestamp()

-- read_positions
SELECT partition, topic_id, position, purge_floor, extract(epoch FROM clock_timestamp() - written_at)::float8
FROM carts_positions WHERE partition = ANY(%(partition)s)

-- move_positions
-- One that is behind what was expected has gone back to a backup: what lies between would be skipped.
UPDATE carts_positions SET
    position = greatest(carts_positions.position, moved.position),
    purge_floor = greatest(carts_positions.purge_floor, moved.purge_floor),
    written_at = clock_timestamp()
FROM unnest(
    %(partition)s::integer[], %(topic_id)s::text[], %(expected)s::bigint[], %(position)s::bigint[],
    %(purge_floor)s::bigint[]
) AS moved (partition, topic_id, expected, position, purge_floor)
WHERE
    carts_positions.partition = moved.partition
    AND carts_positions.topic_id = moved.topic_id
    AND carts_positions.position >= moved.expected
