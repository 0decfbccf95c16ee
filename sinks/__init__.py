"""The Faust processes that carry compacted carts to Postgres and back to Redis."""
