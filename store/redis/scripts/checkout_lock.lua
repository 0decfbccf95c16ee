#!lua flags=allow-oom
-- Set up a fence, or learn whose stands there.
--
-- KEYS  1 fence
-- ARGV  1 token  2 milliseconds
-- Returns {token of the fence that stands, milliseconds until it falls}

redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
