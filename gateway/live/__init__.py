"""Live carts: a stream of events for each page that shows a cart."""
