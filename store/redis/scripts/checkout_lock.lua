#!lua flags=allow-oom
-- Take the lock on a cart's checkout, or learn who holds it.
--
-- KEYS  1 fence: the checkout lock
-- ARGV  1 token  2 milliseconds
-- Returns {token of the holder, milliseconds until the lock expires}

redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
