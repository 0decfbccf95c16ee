-- How far the rows of `carts` are, a row a partition of the topic `carts`: written in the transaction of the rows.
-- A database that goes back to a backup takes its positions back with it.

CREATE TABLE carts_positions (
    partition   integer PRIMARY KEY,
    -- The topic that was read: one that is made anew has another id. Empty where Kafka has no ids.
    topic_id    text NOT NULL,
    -- The rows have every record before this offset.
    position    bigint NOT NULL,
    -- The timestamp of the record before it in milliseconds, 0: not known. A log that has lost its end, and has
    -- grown again, has another record there.
    record_time bigint NOT NULL DEFAULT 0,
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp()
)
WITH (fillfactor = 50);
