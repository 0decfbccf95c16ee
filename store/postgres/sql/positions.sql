-- The SQL on `carts_positions`, by name. Parameters are psycopg's; arrays run in parallel, one element a row.

-- begin_positions
INSERT INTO carts_positions (generation, partition, topic_id, position)
SELECT %(generation)s, partition, topic_id, position
FROM unnest(%(partition)s::integer[], %(topic_id)s::text[], %(position)s::bigint[])
    AS begun (partition, topic_id, position)
ON CONFLICT (generation, partition) DO UPDATE SET
    topic_id = excluded.topic_id,
    position = excluded.position,
    record_time = 0,
    written_at = clock_timestamp()

-- read_positions
SELECT partition, topic_id, position, record_time, extract(epoch FROM clock_timestamp() - written_at)::float8
FROM carts_positions WHERE generation = %(generation)s AND partition = ANY(%(partition)s)

-- move_positions
-- One that is behind what was expected has gone back to a backup: what lies between would be skipped.
UPDATE carts_positions SET
    position = greatest(carts_positions.position, moved.position),
    record_time = CASE
        WHEN moved.position > carts_positions.position THEN moved.record_time ELSE carts_positions.record_time
    END,
    written_at = clock_timestamp()
FROM unnest(
    %(partition)s::integer[], %(topic_id)s::text[], %(expected)s::bigint[], %(position)s::bigint[],
    %(record_time)s::bigint[]
) AS moved (partition, topic_id, expected, position, record_time)
WHERE
    carts_positions.generation = %(generation)s
    AND carts_positions.partition = moved.partition
    AND carts_positions.topic_id = moved.topic_id
    AND carts_positions.position >= moved.expected

-- may_write_positions
SELECT bool_and(has_table_privilege('carts_positions', privilege))
FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed (privilege)

-- drop_positions
DELETE FROM carts_positions WHERE generation = %(generation)s
