"""What several test folders need: processes, waiting, databases, topics, HTTP clients."""
