"""From the Redis outbox to Kafka: publisher, sweeper, trimming, bounds."""
