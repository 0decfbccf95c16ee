"""Merges on login: what a guest has put into the cart goes along to the user's."""
