#!lua flags=allow-oom
-- Skip the pending changes of a cart up to a version: only later ones still wait for compaction.
--
-- KEYS  1 unfolded  2 win
-- ARGV  1 cart_id  2 the version
-- Returns 1: the cart stays for a later change, 0: it is out

local later = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if later[2] then
  redis.call('ZADD', KEYS[1], 'XX', later[2], ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
