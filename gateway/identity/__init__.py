"""Who calls: guest tokens, shoppers' JWTs, service tokens, and what each may do."""
