"""Checkout: from a cart to an order of this system (internal), or to a token for another one (external)."""
