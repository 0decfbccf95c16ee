"""The embedded stack: real Valkey, Postgres and Kafka and the product's processes, without root or Docker."""
