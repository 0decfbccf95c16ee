"""Postgres: the schema, and one module for each table that processes share."""
