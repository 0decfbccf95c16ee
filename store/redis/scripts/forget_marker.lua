#!lua flags=allow-oom
-- Take the marker away, and have the next restoration put all of `carts`: both, or neither.
--
-- KEYS  1 restore  2 ready
-- Returns 1

redis.call('HSET', KEYS[1], 'since', 0)
redis.call('DEL', KEYS[2])
return 1
