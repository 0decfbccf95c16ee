"""The one command: cartstream."""
