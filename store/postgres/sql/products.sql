-- Products that this system owns, by name. Array parameters run in parallel, one element for each row.
-- A version is taken while the product's row is locked, so that versions rise in the order of the commits.

-- put_products
-- Rows are sorted by product_id, so that two batches cannot deadlock.
INSERT INTO products (
    product_id, name, description, category, unit_price, currency, stock, active, image_url, attributes
)
SELECT
    product_id, name, description, category, unit_price, currency, stock, active, image_url, attributes::jsonb
FROM unnest(
    %(product_id)b::text[], %(name)b::text[], %(description)b::text[], %(category)b::text[],
    %(unit_price)b::bigint[], %(currency)b::text[], %(stock)b::bigint[], %(active)b::boolean[],
    %(image_url)b::text[], %(attributes)b::text[]
) AS row (
    product_id, name, description, category, unit_price, currency, stock, active, image_url, attributes
)
ON CONFLICT (product_id) DO UPDATE SET
    version = nextval('product_versions'),
    name = excluded.name,
    description = excluded.description,
    category = excluded.category,
    unit_price = excluded.unit_price,
    currency = excluded.currency,
    stock = excluded.stock,
    active = excluded.active,
    image_url = excluded.image_url,
    attributes = excluded.attributes,
    updated_at = clock_timestamp()
WHERE (
    products.name, products.description, products.category, products.unit_price, products.currency,
    products.stock, products.active, products.image_url, products.attributes
) IS DISTINCT FROM (
    excluded.name, excluded.description, excluded.category, excluded.unit_price, excluded.currency,
    excluded.stock, excluded.active, excluded.image_url, excluded.attributes
)
RETURNING
    product_id, version, name, description, category, unit_price, currency, stock, active, image_url,
    attributes::text, updated_at

-- lock_products
-- Locked in the order of their ids, so that two checkouts of the same products cannot deadlock.
SELECT
    product_id, version, name, description, category, unit_price, currency, stock, active, image_url,
    attributes::text, updated_at
FROM products
WHERE product_id = ANY(%(product_id)b::text[])
ORDER BY product_id
FOR NO KEY UPDATE

-- change_stock
-- The products are locked already. Those whose stock is not counted stay as they are.
UPDATE products SET
    -- Pieces come back from cancelled orders, whatever was counted since.
    stock = least(stock + row.change, %(most)s),
    version = nextval('product_versions'),
    updated_at = clock_timestamp()
FROM unnest(%(product_id)b::text[], %(change)b::bigint[]) AS row (product_id, change)
WHERE products.product_id = row.product_id AND products.stock IS NOT NULL
RETURNING
    products.product_id, version, name, description, category, unit_price, currency, stock, active, image_url,
    attributes::text, updated_at

-- products_to_export
SELECT
    product_id, version, name, description, category, unit_price, currency, stock, active, image_url,
    attributes::text, updated_at
FROM products
WHERE product_id > %(after)s
ORDER BY product_id
LIMIT %(limit)s

-- products_after
SELECT
    product_id, version, name, description, category, unit_price, currency, stock, active, image_url,
    attributes::text, updated_at
FROM products
WHERE product_id > %(after)s
ORDER BY product_id
LIMIT %(limit)s
FOR NO KEY UPDATE
