"""Orders and checkouts in Postgres."""
