#!lua flags=allow-oom
-- Begin a restoration, ending any other. Its first sequence is 0.
--
-- KEYS  1 restore  2 events
-- ARGV  1 token
-- Returns 1

redis.call('HSET', KEYS[1], 'token', ARGV[1], 'sequence', 0)
redis.call('SPUBLISH', KEYS[2], '*')
return 1
