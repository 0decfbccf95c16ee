"""One cart, looked up everywhere: what each store has of it, and what was done to it."""
