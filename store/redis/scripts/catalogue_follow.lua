#!lua flags=allow-oom
-- Where to follow `products` from. A cache that is not whole is emptied first and begins a new generation.
--
-- KEYS  1 facts  2 documents  3 texts  4 ids  5 words
-- ARGV  1 name of a new generation  2 partitions
-- Returns {generation, 1 if complete else 0, position or '' of each partition}

--@include catalogue_whole

local generation = generation_if_whole()
if not generation then
  -- Lists of words and categories that remain are no harm: who is not in `texts` is not found by them.
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  generation = ARGV[1]
  for i = 1, 3 do redis.call('HSET', KEYS[i], '!generation', generation) end
  for i = 4, 5 do redis.call('ZADD', KEYS[i], 0, '!') end
end
local complete = redis.call('HEXISTS', KEYS[1], '!complete')
local following = {generation, complete}
for partition = 0, tonumber(ARGV[2]) - 1 do
  following[#following + 1] = redis.call('HGET', KEYS[1], '!position:' .. partition) or ''
end
return following
