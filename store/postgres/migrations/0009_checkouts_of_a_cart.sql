-- All checkouts of a cart are looked for when it is erased.

CREATE INDEX checkouts_of_cart ON checkouts (cart_id);
