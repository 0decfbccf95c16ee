"""Carts in Postgres: the sink that keeps one row per cart."""
