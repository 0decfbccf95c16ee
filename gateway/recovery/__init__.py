"""Carts left behind: the link back to one, and the end of mails about them."""
