"""Orders that have been placed: read, listed, cancelled."""
