#!lua flags=allow-oom
-- Add what a subject has taken of a quota to what all have noted of it.
--
-- KEYS  1 the subject's backlog: until when all it has taken is given back, in microseconds of Redis's clock
-- ARGV  1 microseconds that it has taken  2 most that count
-- Returns the backlog, in microseconds from now

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local backlog = math.max((tonumber(redis.call('GET', KEYS[1])) or now) - now, 0)
backlog = math.min(backlog + ARGV[1], ARGV[2])
redis.call('SET', KEYS[1], string.format('%.0f', now + backlog), 'PX', math.ceil(backlog / 1000) + 1)
return math.ceil(backlog)
