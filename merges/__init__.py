"""Merges on login: a guest's cart is carried over to a user's, by whoever has a hand free."""
