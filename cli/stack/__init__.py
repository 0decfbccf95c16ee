"""The embedded stack: real Valkey, Postgres and Kafka with the product's processes, without root or Docker."""
