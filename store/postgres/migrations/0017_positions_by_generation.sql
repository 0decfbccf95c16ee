-- Each generation of the topics of carts has positions of its own: those of the next one are noted before it is
-- opened, and a move that is taken back leaves those of this one as they are.

ALTER TABLE carts_positions ADD COLUMN generation integer NOT NULL DEFAULT 1;
ALTER TABLE carts_positions ALTER COLUMN generation DROP DEFAULT;
ALTER TABLE carts_positions DROP CONSTRAINT carts_positions_pkey;
ALTER TABLE carts_positions ADD PRIMARY KEY (generation, partition);
