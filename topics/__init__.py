"""The public contract: topic names, partitioner, records, codecs, schemas."""
