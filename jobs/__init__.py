"""Singleton jobs: what has to be done by one process at a time, whichever that is."""
