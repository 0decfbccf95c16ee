"""Parts for aiokafka clients: a reader of offset ranges, and the sign of a dead client."""
