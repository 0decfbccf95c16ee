#!lua flags=allow-oom
-- Take a lease, or prolong it if it is ours.
--
-- KEYS  1 lease
-- ARGV  1 owner  2 milliseconds
-- Returns 1: ours, 0: somebody else's

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
