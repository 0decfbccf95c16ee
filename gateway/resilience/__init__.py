"""Deadlines and the circuit breaker."""
