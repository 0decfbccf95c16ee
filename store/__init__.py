"""The cart's home in Redis: key layout, Lua scripts and the pipelined client."""
