#!lua flags=allow-oom
-- Take down a fence, if it is the one named.
--
-- KEYS  1 fence
-- ARGV  1 token
-- Returns 1: taken down, 0: there is none, or another

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
