"""The gateway's connections to Postgres."""
