"""Orders: read, list, cancel."""
