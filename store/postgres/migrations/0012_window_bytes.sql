-- How many bytes of a cart's state are its recent operations: what trimming it would save. Not known (0) of rows from
-- before, until their carts change.

ALTER TABLE carts ADD COLUMN window_bytes integer NOT NULL DEFAULT 0;
