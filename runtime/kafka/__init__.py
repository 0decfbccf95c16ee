"""What every Kafka client of this project needs to know about aiokafka."""
