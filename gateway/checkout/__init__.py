"""From a cart to an order: where orders are kept here, and where another system keeps them."""
