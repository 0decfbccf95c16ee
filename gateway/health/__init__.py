"""Liveness, readiness, metrics and documentation of the process."""
