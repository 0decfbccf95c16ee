-- All merges into a cart are looked up, also those that have ended.

CREATE INDEX merges_into ON merges (into_cart);
