-- The products, where this system owns them. A version is never given twice, so a product's never falls.

CREATE SEQUENCE product_versions;

CREATE TABLE products (
    -- "C": rows are locked in the order of the ids, and everybody has to agree on it.
    product_id  text COLLATE "C" PRIMARY KEY,
    version     bigint NOT NULL DEFAULT nextval('product_versions'),
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    category    text,
    unit_price  bigint NOT NULL CHECK (unit_price >= 0),
    currency    text NOT NULL,
    -- Pieces left to order; NULL: not counted.
    stock       bigint CHECK (stock >= 0),
    active      boolean NOT NULL DEFAULT true,
    image_url   text,
    attributes  jsonb NOT NULL DEFAULT '{}',
    updated_at  timestamptz NOT NULL DEFAULT now()
);
