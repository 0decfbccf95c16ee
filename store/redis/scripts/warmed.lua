#!lua flags=allow-oom
-- Note how far the warming of a partition is, if the partition is still the one that is warmed.
--
-- KEYS  1 ready  2 cold
-- ARGV  1 the restoration  2 offset of `carts` before which carts may be cold, empty: none is
-- Returns 1: noted, 0: the partition was restored again

local marker = redis.call('GET', KEYS[1])
if not marker or string.match(marker, '^%S+') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[2])
end
return 1
