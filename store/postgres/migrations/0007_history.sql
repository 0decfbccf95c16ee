-- What carts did, operation by operation: written by `sinks history` where CARTSTREAM_HISTORY is set.

-- Counts in the order in which the records of a cart were written, which is the order of its fold.
CREATE SEQUENCE cart_changes_place;

CREATE TABLE cart_changes (
    cart_id     text NOT NULL,
    -- The version of the operation, and its id; a second attempt of an operation has a version of its own.
    v           bigint NOT NULL,
    op_id       text NOT NULL,
    -- The day of the version, in UTC.
    day         date NOT NULL,
    place       bigint NOT NULL DEFAULT nextval('cart_changes_place'),
    -- The steps, as JSON (carts.operations.Delta).
    operation   jsonb NOT NULL,
    -- The version that the cart had in Redis before (NULL: not known), and that of its first operation.
    previous_v  bigint,
    born        bigint NOT NULL,
    actor       text,
    cause       text,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cart_id, v, op_id, day)
)
PARTITION BY RANGE (day);

-- Days for which the job `history` has not made a partition.
CREATE TABLE cart_changes_rest PARTITION OF cart_changes DEFAULT;

-- Erased carts, and up to which version: what arrives late of them is not written.
CREATE TABLE erased_histories (
    cart_id   text PRIMARY KEY,
    v         bigint NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now()
);
