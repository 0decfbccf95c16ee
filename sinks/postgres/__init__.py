"""Carts in Postgres: migrations, named SQL and the sink that keeps one row a cart."""
