"""Merges: what a guest has put into the cart goes along to the user's, or to the next session's."""
