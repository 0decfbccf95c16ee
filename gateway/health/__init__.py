"""Liveness, readiness, metrics of the process, and pages about its problems."""
