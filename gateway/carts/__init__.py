"""The routes of carts: what a request may say, what it does, what it answers."""
