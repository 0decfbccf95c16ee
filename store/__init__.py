"""The stores' clients: the live cart in Redis, rows in Postgres."""
