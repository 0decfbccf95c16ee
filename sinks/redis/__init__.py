"""Carts back in Redis: restore what was lost, then follow the `carts` topic."""
