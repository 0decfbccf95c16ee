"""The history of a cart: its operations, and the cart as it was. Only where CARTSTREAM_HISTORY is set."""
