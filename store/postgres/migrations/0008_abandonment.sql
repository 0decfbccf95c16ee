-- Carts left behind, as they were told of; and who wants no mails about them.

CREATE TABLE abandoned_carts (
    cart_id      text NOT NULL,
    -- The version number that the cart had all the time: an idle period is told of once.
    v            bigint NOT NULL,
    idle_since   timestamptz NOT NULL,
    abandoned_at timestamptz NOT NULL DEFAULT now(),
    currency     text,
    -- Minor units.
    subtotal     bigint NOT NULL,
    lines        integer NOT NULL,
    -- When the cart was seen to have changed or to have been ordered since, and which of both.
    recovered_at timestamptz,
    recovered_by text,
    order_id     text,
    -- When the cart was erased: nothing leads back to it any more.
    erased_at    timestamptz,
    PRIMARY KEY (cart_id, v)
);

CREATE INDEX abandoned_carts_open ON abandoned_carts (abandoned_at) WHERE recovered_at IS NULL;

CREATE TABLE mail_suppressions (
    -- SHA-256 of the mail address: who unsubscribes must not have to be known.
    address_hash  bytea PRIMARY KEY,
    suppressed_at timestamptz NOT NULL DEFAULT now()
);

-- What was left behind and what came back, by the day (UTC) on which it was told of; minor units.
CREATE VIEW abandonment_daily AS
SELECT
    (abandoned_at AT TIME ZONE 'UTC')::date AS day,
    currency,
    count(*) AS abandoned,
    count(recovered_at) AS recovered,
    count(*) FILTER (WHERE recovered_by = 'ordered') AS ordered,
    sum(subtotal)::bigint AS value,
    coalesce(sum(subtotal) FILTER (WHERE recovered_at IS NOT NULL), 0)::bigint AS recovered_value
FROM abandoned_carts
GROUP BY 1, 2;
