"""Rate limits: how many requests one caller, or one client address, may send."""
