#!lua flags=allow-oom
-- Release the lock on a cart's checkout, if this token holds it.
--
-- KEYS  1 fence: the checkout lock
-- ARGV  1 token
-- Returns 1: released, 0: the lock is free, or another token holds it

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
