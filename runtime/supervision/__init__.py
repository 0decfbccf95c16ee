"""Several processes of one kind on one host: a supervisor keeps them, starts them again, renews them."""
