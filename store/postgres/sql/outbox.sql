-- The outbox of records for Kafka, by name.

-- write_outbox
-- In the order given: a row's number follows from its place here, not from the commit.
INSERT INTO outbox (topic, key, value, headers)
SELECT topic, key, value, headers
FROM unnest(%(topics)b::text[], %(keys)b::text[], %(values)b::text[], %(headers)b::text[]::jsonb[])
     WITH ORDINALITY AS record (topic, key, value, headers, position)
ORDER BY position

-- outbox_waiting
SELECT outbox_id, topic, key, value, headers
FROM (
    SELECT *, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY outbox_id) AS bytes
    FROM (SELECT * FROM outbox ORDER BY outbox_id LIMIT %(records)s) AS first
) AS measured
WHERE bytes - coalesce(octet_length(value), 0) < %(bytes)s
ORDER BY outbox_id

-- remove_from_outbox
DELETE FROM outbox WHERE outbox_id = ANY(%(outbox_ids)s)

-- outbox_lag
SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT %(count_up_to)s) AS counted),
       (SELECT extract(epoch FROM clock_timestamp() - written_at) FROM outbox ORDER BY outbox_id LIMIT 1)
