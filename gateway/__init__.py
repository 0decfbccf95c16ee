"""The Sanic process that shops talk to."""
