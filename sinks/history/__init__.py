"""The history of carts in Postgres: the sink that writes every operation, once."""
