-- What follows an order, once each: who has begun it, and when it was done.

CREATE TABLE post_checkout_tasks (
    order_id   text NOT NULL,
    task       text NOT NULL,
    attempts   integer NOT NULL DEFAULT 1,
    begun_at   timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    PRIMARY KEY (order_id, task)
);
