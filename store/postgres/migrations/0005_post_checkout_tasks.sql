-- What follows an order, once each: who has begun it, when it is tried again, and when it was done.

CREATE TABLE post_checkout_tasks (
    order_id         text NOT NULL,
    task             text NOT NULL,
    -- The orders record it is about, as JSON; NULL once done, for it says who lives where.
    record           text,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    attempts         integer NOT NULL DEFAULT 0,
    -- When the last attempt began. Whoever begins one moves due_at: if it dies, the next one comes then.
    begun_at         timestamptz,
    due_at           timestamptz NOT NULL DEFAULT now(),
    done_at          timestamptz,
    -- 'sent', or 'refused': a dead letter says why.
    outcome          text,
    detail           text,
    PRIMARY KEY (order_id, task)
);

CREATE INDEX post_checkout_tasks_due ON post_checkout_tasks (due_at) WHERE done_at IS NULL;
