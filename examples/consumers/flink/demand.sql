-- Demand by product, with Flink SQL: how many pieces of a product are in how many carts, now.
-- A job for sql-client.sh -f demand.sql; it needs flink-sql-connector-kafka. Make the topic of the result first.
-- An older state of a cart may follow a newer one, rarely; upsert-kafka then takes the older one until the next change.

CREATE TABLE carts (
    cart_id STRING,
    `status` STRING,
    lines ARRAY<ROW<product_id STRING, quantity BIGINT, unit_price BIGINT>>,
    PRIMARY KEY (cart_id) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka',
    'topic' = 'carts',
    'properties.bootstrap.servers' = '127.0.0.1:9092',
    'key.format' = 'raw',
    'value.format' = 'json',
    'value.json.ignore-parse-errors' = 'true'
);

CREATE TABLE demand (
    product_id STRING,
    pieces BIGINT,
    carts BIGINT,
    PRIMARY KEY (product_id) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka',
    'topic' = 'demand-by-product',
    'properties.bootstrap.servers' = '127.0.0.1:9092',
    'key.format' = 'raw',
    'value.format' = 'json'
);

INSERT INTO demand
SELECT product_id, SUM(quantity), COUNT(DISTINCT cart_id)
FROM carts CROSS JOIN UNNEST(lines) AS line (product_id, quantity, unit_price)
WHERE `status` = 'active'
GROUP BY product_id;
