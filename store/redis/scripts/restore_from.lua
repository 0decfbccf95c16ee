#!lua flags=allow-oom
-- Note where in `carts` a restoration begins, before it puts anything. The earliest stays until one is finished.
--
-- KEYS  1 restore  2 followed
-- ARGV  1 token  2 sequence, which rises by one  3 where it would begin
-- Returns the offset from which this Redis may lack something, nil: the restoration was lost

local running = redis.call('HMGET', KEYS[1], 'token', 'sequence', 'since')
if running[1] ~= ARGV[1] or running[2] ~= ARGV[2] then return false end
local since = ARGV[3]
for _, earlier in ipairs({running[3] or since, redis.call('GET', KEYS[2]) or since}) do
  if tonumber(earlier) < tonumber(since) then since = earlier end
end
redis.call('HSET', KEYS[1], 'since', since)
redis.call('HINCRBY', KEYS[1], 'sequence', 1)
return tonumber(since)
