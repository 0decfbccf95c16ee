-- Records on their way to Kafka, written in the transaction of the fact they tell of. The relay publishes them
-- in order and deletes what was acknowledged.

CREATE TABLE outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text NOT NULL,
    key        text NOT NULL,
    -- NULL: a tombstone.
    value      text,
    -- [[name, value], …] in their order.
    headers    jsonb NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
)
-- Rows come and go at the front: without frequent vacuums every look at it walks over the dead ones.
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('cartstream_outbox', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_written AFTER INSERT ON outbox
FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox();
