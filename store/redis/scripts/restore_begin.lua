#!lua flags=allow-oom
-- Begin a restoration, ending any other. Its first sequence is 0.
--
-- KEYS  1 restore  2 events
-- ARGV  1 token
-- Returns 1: begun, 0: the partition is closed

if redis.call('HEXISTS', KEYS[1], 'closed') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'sequence', 0)
redis.call('SPUBLISH', KEYS[2], '*')
return 1
