-- What is going into a cart is carried on before the cart itself goes into another one.

CREATE INDEX merges_open_into ON merges (into_cart) WHERE is_open;
