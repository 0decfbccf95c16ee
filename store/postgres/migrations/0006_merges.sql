-- Merges of guests' carts into users' carts, and what each transfer of a merge carries.

CREATE TABLE merges (
    merge_id    text PRIMARY KEY,
    -- A guest's cart is merged into one cart: of two who begin, the first one wins.
    guest       text NOT NULL UNIQUE,
    into_cart   text NOT NULL,
    strategy    text NOT NULL,
    -- Lines that the guest's cart had at the last decision, those carried before included.
    lines_total integer NOT NULL DEFAULT 0,
    began_at    timestamptz NOT NULL DEFAULT now(),
    -- When somebody last carried it on, or handed it to the merge agent.
    attended_at timestamptz NOT NULL DEFAULT now(),
    -- Whether there is something to carry on; again, where a write got into a guest's cart that was merged.
    is_open     boolean NOT NULL DEFAULT true,
    -- When nothing was left that could go along, for the first time.
    finished_at timestamptz,
    -- The version of the guest's row at which that was looked at again.
    looked_v    bigint,
    looked_n    bigint
);

CREATE INDEX merges_open ON merges (attended_at) WHERE is_open;

CREATE INDEX merges_finished ON merges (finished_at) WHERE NOT is_open;

CREATE TABLE merge_transfers (
    merge_id     text NOT NULL REFERENCES merges ON DELETE CASCADE,
    -- Rises within the guest's cart: of two who decide the same transfer, one finds the number taken.
    number       bigint NOT NULL,
    into_cart    text NOT NULL,
    -- Rises within the user's cart; NULL where nothing reaches it.
    place        bigint,
    -- What was decided, as JSON (carts.merging.Transfer).
    transfer     jsonb NOT NULL,
    decided_at   timestamptz NOT NULL DEFAULT now(),
    -- The version of the user's cart with it.
    cart_version text,
    -- When both folded carts were seen to have it.
    settled_at   timestamptz,
    PRIMARY KEY (merge_id, number),
    UNIQUE (into_cart, place)
);

CREATE INDEX merge_transfers_unsettled ON merge_transfers (decided_at) WHERE settled_at IS NULL;
