#!lua flags=allow-oom
-- Note how far the warming of a partition is, if the partition is still the one that is warmed, as far as it was, and
-- has every cart that was met: one that has fallen back meanwhile may lack some.
--
-- KEYS  1 ready  2 cold  3.. the carts
-- ARGV  1 the restoration  2 offset of `carts` before which carts may be cold so far
--       3 the same from now on, empty: none is
-- Returns 1: noted, 0: the partition was restored again, or has fallen back

local marker = redis.call('GET', KEYS[1])
if not marker or string.match(marker, '^%S+') ~= ARGV[1] then return 0 end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
for first = 3, #KEYS, 1000 do
  local last = math.min(first + 999, #KEYS)
  if redis.call('EXISTS', unpack(KEYS, first, last)) < last - first + 1 then return 0 end
end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
