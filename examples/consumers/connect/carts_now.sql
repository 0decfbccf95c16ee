-- The tables of carts-to-postgres.properties: `carts_now` has a row for each cart, as its newest record in `carts` says.

-- What the connector writes.
CREATE TABLE carts_received (
    cart_id text PRIMARY KEY,
    -- v-n-digest: of the state, or of what was deleted.
    version text NOT NULL,
    -- The record without `state`, which is for recovery. Null: the cart is deleted. The row stays, for an older state may follow.
    cart    jsonb
);

-- What versions are compared by: v and n, as numbers.
CREATE FUNCTION cart_v_n(version text) RETURNS bigint[] LANGUAGE sql IMMUTABLE STRICT
RETURN (string_to_array(version, '-'))[1:2]::bigint[];

-- The connector writes whatever comes. A record that is older than the row must change nothing.
CREATE FUNCTION keep_newest_cart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A tombstone without a version is a mistake and deletes nothing. Keys with `!` are bookkeeping of clusters from before
    -- the topic purge-floors.
    IF NEW.version IS NULL OR NEW.cart_id LIKE '!%' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF cart_v_n(NEW.version) < cart_v_n(OLD.version) THEN
            RETURN NULL;
        END IF;
        -- At equal versions the deletion wins.
        IF OLD.cart IS NULL AND cart_v_n(NEW.version) = cart_v_n(OLD.version) THEN
            RETURN NULL;
        END IF;
    END IF;
    NEW.cart := NEW.cart - 'state';
    RETURN NEW;
END
$$;

CREATE TRIGGER keep_newest_cart BEFORE INSERT OR UPDATE ON carts_received
FOR EACH ROW EXECUTE FUNCTION keep_newest_cart();

-- The carts that there are. Add the columns that you need: the topic's schema says what is in `cart`.
CREATE VIEW carts_now AS
SELECT
    cart_id,
    version,
    cart ->> 'status'                      AS status,
    cart ->> 'currency'                    AS currency,
    -- In minor units of the currency.
    (cart #>> '{totals,total}')::bigint    AS total,
    cart
FROM carts_received
WHERE cart IS NOT NULL;

-- What is in them, a row a line.
CREATE VIEW cart_lines_now AS
SELECT carts_now.cart_id, line.*
FROM carts_now
CROSS JOIN LATERAL jsonb_to_recordset(carts_now.cart -> 'lines') AS line (
    line_id    text,
    product_id text,
    quantity   bigint,
    unit_price bigint,
    line_total bigint
);
