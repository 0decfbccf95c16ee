#!lua flags=allow-oom
-- Release a lock or a lease, if this holder has it.
--
-- KEYS  1 lock or lease
-- ARGV  1 token or owner
-- Returns 1: released, 0: it is free, or another holder has it

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
