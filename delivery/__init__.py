"""Faust that loses nothing: consumer, table, contiguity and dead letters."""
