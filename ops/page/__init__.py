"""The operations page: its process, its API, its files."""
